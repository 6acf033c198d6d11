import { GenerationEngine } from '../../generate/engine/engine.js'
import { renderInput } from '../../generate/input.js'
import { type GenerationSettings, generationRequest } from '../../generate/settings.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { Paraphrase } from './views.js'

/**
 * Texts in other words, as the model writes them without a prompt: what other images are to DiffTPT (Feng et al. 2023, arXiv 2308.06038). A small
 * model often writes something else, which is what the share of similar views is there for.
 */

/** What a paraphrase may be longer than its text, in tokens, and at least. */
const [longer, least] = [1.5, 12]
/** The answer is begun, so that a small model goes on with it, and mostly closes the quotation marks behind it. */
const begin = 'In other words: "'

export interface Paraphraser extends AsyncDisposable {
  readonly write: Paraphrase
}

/** @param count paraphrases of a text, which are written together @throws GradpromptError as opening an engine does */
export async function openParaphraser(
  model: LanguageModel,
  { count, signal }: { readonly count: number; readonly signal: AbortSignal | undefined },
): Promise<Paraphraser> {
  // Exact arithmetic: views are the same on any machine, but for the last bits.
  const engine = await GenerationEngine.open(model, { weights: 'fp32', batchSize: count })
  const { tokenizer, config } = model
  const write: Paraphrase = async (text, wanted, seed) => {
    const { text: asked, addSpecialTokens } = askFor(model, text)
    const ids = tokenizer.encode(asked, { addSpecialTokens })
    const length = tokenizer.encode(text, { addSpecialTokens: false }).length
    const room = config.maxPositionEmbeddings - ids.length
    // A text that fills the context has no room for another.
    if (room < least) return []
    const settings = { temperature: 1, topP: 0.95, seed, stop: ['"', '\n'] } as Partial<GenerationSettings> as GenerationSettings
    const most = Math.min(room, Math.max(least, Math.ceil(longer * length)))
    const answers = await Promise.all(
      Array.from({ length: wanted }, (_, i) =>
        engine.generate({ ...generationRequest(ids, most, settings, i), ...(signal && { signal }) }),
      ),
    )
    return [...new Set(answers.map(answer => answer.text.trim()).filter(written => written !== '' && written !== text.trim()))]
  }
  return { write, [Symbol.asyncDispose]: () => engine.dispose() }
}

function askFor({ tokenizer }: LanguageModel, text: string) {
  const said = text.replaceAll('"', "'").trim()
  const ask = `Say this text in other words, and let it mean the same:\n\n"${said}"\n\nWrite the new text alone.`
  if (tokenizer.chatTemplate === undefined) return { text: `${ask}\n\n${begin}`, addSpecialTokens: true }
  const rendered = renderInput(tokenizer, { prompt: ask }, { chat: true })
  return { ...rendered, text: rendered.text + begin }
}
