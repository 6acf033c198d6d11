/**
 * `node dist/scripts/study/switching.js [ANSWERS]`: how positive answers of the bundled model are with control prompts that take turns, by the
 * weight of fluency, and beside one answer. They are judged by another question than the strategy asks, though by the same model.
 */
import { generate, loadModel } from '../../src/index.js'
import { mean } from '../../src/numbers.js'

const count = Number(process.argv[2] ?? 16)
const things = ['a film', 'a hotel', 'a book', 'a restaurant', 'a phone', 'a city', 'a teacher', 'a concert']
const wishes = ['Write one sentence about', 'Say what somebody may think of']
const inputs = wishes
  .flatMap(wish => things.map(thing => ({ messages: [{ role: 'user', content: `${wish} ${thing}.` }] })))
  .slice(0, count)
const model = await loadModel('models/smollm2-135m-instruct')
const maxNewTokens = 32
const conditions = [
  ['one answer', undefined],
  ...[0, 1, 4, 1000].map(fluency => [`mu ${fluency}`, { type: 'switching', fluency, pieces: 4 }] as const),
] as const

const judged = async (texts: readonly string[]) => {
  const rows = texts.map(text => ({
    context: model.tokenizer.encode(`Review: ${text}\nSentiment:`),
    candidates: [' positive', ' negative'].map(word => ({ ids: model.tokenizer.encode(word, { addSpecialTokens: false }) })),
  }))
  return (await model.logLikelihoods(undefined, rows)).map(([good, bad]) => good! - bad!)
}
const fluency = async (ids: readonly (readonly number[])[]) => {
  const rows = inputs.map(({ messages }, i) => ({
    context: model.tokenizer.encode(model.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), {
      addSpecialTokens: false,
    }),
    candidates: [{ ids: ids[i]! }],
  }))
  return (await model.logLikelihoods(undefined, rows)).map(([sum], i) => sum! / ids[i]!.length)
}
/** A 95 % interval of a mean, by the normal approximation. */
const interval = (values: readonly number[]) => {
  const own = mean(values)
  const half = 1.96 * Math.sqrt(mean(values.map(x => (x - own) ** 2)) / (values.length - 1))
  return [own, own - half, own + half].map(x => Number(x.toFixed(2)))
}

let plain: readonly number[] | undefined
for (const [name, strategy] of conditions) {
  const answers = await generate({ model, inputs, maxNewTokens, ...(strategy && { strategy }) })
  const scores = await judged(answers.map(({ text }) => text))
  plain ??= scores
  const line = {
    condition: name,
    logOdds: interval(scores),
    more: interval(scores.map((x, i) => x - plain![i]!)),
    logProbability: interval(await fluency(answers.map(({ ids }) => ids))),
    switches: mean(answers.map(({ severally }) => severally?.figures?.switches ?? 0)),
    tokens: mean(answers.map(({ severally, ids }) => severally?.tokens ?? ids.length)),
    first: answers[0]!.text,
  }
  console.log(JSON.stringify(line))
}
await model.dispose()
