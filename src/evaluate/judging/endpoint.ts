import type { z } from 'zod'
import { configProblem } from '../../config/problems.js'
import { Endpoint } from '../../endpoint/client.js'
import { CallJournal } from '../../endpoint/journal.js'
import { endpointSchema } from '../../endpoint/options.js'
import { type Judge, judgeText } from './judge.js'

/** A judge behind an OpenAI-compatible endpoint: it is asked once for each order, and answers in words. */

/** As a config has it: at least `url` and `model`; `key` is the name of an environment variable. */
export type JudgeEndpoint = z.input<typeof endpointSchema>

/** Tokens of an answer of a few words. */
const maxTokens = 16

/** @throws GradpromptError `unknown-option`, `invalid-config`, `endpoint-key-missing`; its `prefer` as `Endpoint.chat` does */
export async function endpointJudge(
  given: JudgeEndpoint,
  {
    instruction,
    seed,
    signal,
  }: { readonly instruction: string; readonly seed: number; readonly signal?: AbortSignal | undefined },
): Promise<Judge> {
  const { success, data: options, error } = endpointSchema.safeParse(given)
  if (!success) throw configProblem(error.issues, given, endpointSchema, 'the judge')
  const endpoint = new Endpoint(options, { role: 'judge', journal: await CallJournal.open(), signal })
  return {
    name: options.model,
    identity: options.url,
    async prefer(question) {
      const messages = [{ role: 'user' as const, content: judgeText(instruction, question) }]
      const { text } = await endpoint.chat({ messages, temperature: 0, maxTokens, seed })
      return readVerdict(text)
    },
  }
}

/** `Output (a)` or `(b)` within a text, or nothing but a letter; 0.5 where it is neither, or both. */
export function readVerdict(text: string): number {
  const named = [...text.matchAll(/\(\s*([ab])\s*\)/gi)].map(([, letter]) => letter!.toLowerCase())
  const [, alone] = /^\W*(?:output\s*)?([ab])\W*$/i.exec(text) ?? []
  const letters = new Set(alone === undefined ? named : [alone.toLowerCase()])
  if (letters.size !== 1) return 0.5
  return letters.has('a') ? 1 : 0
}
