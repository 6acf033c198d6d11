/**
 * `node dist/scripts/study/contrast.js GOOD BAD JUDGE [ROWS]`: what holding one prompt against another comes to. GOOD and BAD are runs of
 * `examples/preferences/sft.yaml` and `rejected.yaml`, JUDGE one of `examples/sst2/quickstart.yaml`: the share of answers that it calls
 * positive, and what the model without a prompt gives their tokens.
 */
import { judgeAnswers } from './judged-answers.js'

const [good, bad, judge, rows = '150'] = process.argv.slice(2) as [string, string, string, string?]
await judgeAnswers(
  [
    { name: 'BAD', prompt: bad },
    { name: 'GOOD', prompt: good },
    ...[0.5, 1, 2].map(contrast => ({ name: `GOOD against BAD, g ${contrast}`, prompt: good, against: bad, contrast })),
    { name: 'GOOD against the model, g 1', prompt: good, contrast: 1 },
  ],
  judge,
  Number(rows),
)
