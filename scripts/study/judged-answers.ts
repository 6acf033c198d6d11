import { readFileSync } from 'node:fs'
import { wilsonInterval } from '../../src/evaluate/intervals.js'
import { type GenerateOptions, generate, loadModel, predict } from '../../src/index.js'

/** How answers to the viewers of `examples/preferences/test.jsonl` come out under several prompts, or under one in several ways. */

type Case = { readonly name: string } & Pick<GenerateOptions, 'prompt' | 'against' | 'contrast' | 'strength'>

/**
 * Writes a line for each case: the share of greedy answers of at most 24 tokens that a judge calls positive with its 95 % interval, what
 * the model without a prompt gives each of their tokens, and the first answer.
 * @param judge a run of `examples/sst2/quickstart.yaml`
 */
export async function judgeAnswers(cases: readonly Case[], judge: string, rows: number): Promise<void> {
  const inputs = readFileSync('examples/preferences/test.jsonl', 'utf8')
    .trim()
    .split('\n')
    .slice(0, rows)
    .map(line => `Viewer: ${(JSON.parse(line) as { prompt: string }).prompt}\nOwner:`)
  const model = await loadModel('models/smollm2-135m-instruct')
  const { tokenizer } = model
  for (const { name, ...options } of cases) {
    const answers = await generate({ ...options, model, inputs, raw: true, maxNewTokens: 24, stop: ['\n'] })
    const texts = answers.map(({ text }) => text.trim() || '.')
    const predictions: string[] = []
    for await (const { prediction } of predict({ model, prompt: judge, data: texts.map(text => ({ text })) }))
      predictions.push(prediction)
    const positive = predictions.filter(label => label === 'positive').length
    const likelihoods = await model.logLikelihoods(
      undefined,
      answers.map(({ ids }, i) => ({
        context: tokenizer.encode(inputs[i]!),
        candidates: [{ ids: ids.length > 0 ? ids : tokenizer.encode('.') }],
      })),
    )
    const tokens = answers.reduce((sum, { ids }) => sum + Math.max(1, ids.length), 0)
    const perToken = likelihoods.reduce((sum, [value]) => sum + value!, 0) / tokens
    const { low, high } = wilsonInterval(positive, texts.length)
    const percent = (x: number) => (100 * x).toFixed(1)
    console.log(
      `${name}: ${percent(positive / texts.length)} % [${percent(low)}, ${percent(high)}], ${perToken.toFixed(2)} nats a token; ${JSON.stringify(texts[0])}`,
    )
  }
  await model.dispose()
}
