/**
 * `node dist/scripts/study/contrast.js GOOD BAD JUDGE [ROWS]`: what holding one prompt against another comes to. GOOD and BAD are runs of
 * `examples/preferences/sft.yaml` and `rejected.yaml`, JUDGE one of `examples/sst2/quickstart.yaml`: the share of answers that it calls
 * positive, and what the model without a prompt gives their tokens.
 */
import { readFileSync } from 'node:fs'
import { wilsonInterval } from '../../src/evaluate/intervals.js'
import { generate, loadModel, predict } from '../../src/index.js'

const [good, bad, judge, rows = '150'] = process.argv.slice(2) as [string, string, string, string?]
const inputs = readFileSync('examples/preferences/test.jsonl', 'utf8')
  .trim()
  .split('\n')
  .slice(0, Number(rows))
  .map(line => ({ prompt: (JSON.parse(line) as { prompt: string }).prompt }))

const cases = [
  { name: 'BAD', prompt: bad },
  { name: 'GOOD', prompt: good },
  ...[0.5, 1, 2].map(contrast => ({ name: `GOOD against BAD, g ${contrast}`, prompt: good, against: bad, contrast })),
  { name: 'GOOD against the model, g 1', prompt: good, contrast: 1 },
]
const model = await loadModel('models/smollm2-135m-instruct')
const { tokenizer } = model
for (const { name, ...options } of cases) {
  const answers = await generate({
    ...options,
    model,
    inputs: inputs.map(({ prompt }) => `Viewer: ${prompt}\nOwner:`),
    raw: true,
    maxNewTokens: 24,
    stop: ['\n'],
  })
  const texts = answers.map(({ text }) => text.trim() || '.')
  const predictions: string[] = []
  for await (const { prediction } of predict({ model, prompt: judge, data: texts.map(text => ({ text })) }))
    predictions.push(prediction)
  const positive = predictions.filter(label => label === 'positive').length
  const likelihoods = await model.logLikelihoods(
    undefined,
    answers.map(({ ids }, i) => ({
      context: tokenizer.encode(`Viewer: ${inputs[i]!.prompt}\nOwner:`),
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
