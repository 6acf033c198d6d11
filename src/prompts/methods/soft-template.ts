import { z } from 'zod'
import { declareCode } from '../../code-identity.js'
import type { PromptMethod } from '../method.js'

/**
 * Soft and mixed templates (P-tuning, Liu et al. 2021, arXiv 2103.10385; OpenPrompt, Ding et al. 2022, arXiv 2111.01998): what is learned
 * are the template's soft tokens alone (`data/texts/soft-tokens.ts`), and nothing stands before the text. The rows are a parameter that
 * every method has where the template has soft tokens (`soft-rows.ts`); this one has no other.
 */
export const softTemplateSchema = z.strictObject({
  type: z.literal('soft-template').describe('the template\'s soft tokens alone: {soft:3} or {soft:"words to start from"}'),
})

export type SoftTemplateConfig = z.output<typeof softTemplateSchema>

export const softTemplate: PromptMethod<SoftTemplateConfig> = declareCode(import.meta.url, {
  type: 'soft-template',
  paper: 'Ding et al. 2022, OpenPrompt: An Open-source Framework for Prompt-learning (arXiv 2111.01998)',
  learningRate: 0.01,
  softTokensAlone: true,
  placement: () => ({ numVirtualTokens: 0, position: 'before-bos' }),
  parameters: () => [],
  initialise: () => Promise.resolve(new Map()),
})
