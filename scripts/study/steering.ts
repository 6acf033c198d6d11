/**
 * `node dist/scripts/study/steering.js RUN JUDGE [ROWS] [STRENGTHS]`: what the strength of a steering vector comes to. RUN is one of
 * `examples/preferences/steering.yaml`, JUDGE one of `examples/sst2/quickstart.yaml`: the share of answers that it calls positive, and what
 * the model without a prompt gives their tokens.
 */
import { judgeAnswers } from './judged-answers.js'

const [run, judge, rows = '150', strengths = '-2,-1,0,1,2'] = process.argv.slice(2) as [string, string, string?, string?]
await judgeAnswers(
  strengths.split(',').map(text => ({ name: `strength ${text}`, prompt: run, strength: Number(text) })),
  judge,
  Number(rows),
)
