import { type MetricValue, wilsonInterval } from '../../../src/evaluate/intervals.js'
import type { SearchStudyLine } from '../../search-study.js'
import { pairedMean } from '../paired.js'
import { type SearchTaskName, searchTasks } from './tasks.js'

type RunLine = SearchStudyLine & {
  readonly condition: string
  readonly prompt: string
  readonly first: string
  readonly steps: number
  readonly generatedTokens: number
  readonly seconds: number
  readonly test: { readonly first: string; readonly found: string }
  readonly p: number | null
}
type RankLine = SearchStudyLine & {
  readonly candidates: number
  readonly better: number
  readonly correlations: Readonly<Record<string, number | null>>
}

const percent = (value: number) => `${(100 * value).toFixed(1)}`
const interval = ({ value, low, high }: MetricValue, show = percent) => `${show(value)} [${show(low)}, ${show(high)}]`
const signed = (value: number) => `${value > 0 ? '+' : ''}${percent(value)}`
const probability = (p: number | null) => (p === null ? '–' : p < 0.001 ? '< 0.001' : `= ${p.toFixed(3)}`)
const bitsOf = (text: string) => [...text].map(Number)

function accuracy(bits: readonly number[]): MetricValue {
  const right = bits.reduce((sum, bit) => sum + bit, 0)
  return { value: right / bits.length, ...wilsonInterval(right, bits.length) }
}

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
  [row(head), `|${head.map(() => '---|').join('')}`, ...rows.map(row)].join('\n')

/** What the lines of the bundled model say. */
export const ownConclusions = `## What to make of it

Searching helps: over the first prompt the gain's interval lies above zero. The gradient over reasoning does not: at the same budget, three tokens drawn at random out of what the
model itself proposes did better, and pruning (\`promptquine\`) did less. What the tables above and the steps of the runs (\`events.jsonl\`) say of the reason:

- The proposals carry most of it. At the first prompt many single swaps out of them are better than what stands there, so that a random one is a fair guess.
- The gradient is a poor guess because it is of first order. Behind the reasoning that it holds fixed, the exact loss agrees with that behind fresh reasoning (0.53 on average, 0.77 on boolean
  expressions); the gradient agrees with neither (0.07 and 0.10 on average). A token is far from the one that it replaces, and what the loss does in between is no straight line.
- Exact scores behind held reasoning (\`search.shortlist: held-reasoning\`) agree better with those behind fresh reasoning, generate nothing, and compute more: a step took 13 s for 10. The fix did not hold.
  On boolean expressions, in the two seeds that were run first, it was as good as chance; over all tasks it is no better than the gradient and, as that, behind chance. An agreement measured at the first
  prompt says little of the steps behind it.
- A guess that is left, and not measured: an estimate picks tokens of one kind step after step; chance tries others, too, and the exact score behind fresh reasoning, which decides in all conditions,
  keeps the ones that help.

So \`shortlist: gradient\` stays the default because it is the method of the paper, whose models are some sixty times as large; with a model like this one, \`shortlist: random\` is the better choice.

The model is small and its reasoning short (32 and 64 tokens). Whether a larger one differs is what \`--model\` is there to find out.`

/** The study's page, from the lines of one model. */
export function studyPage(
  lines: readonly SearchStudyLine[],
  conditions: readonly string[],
  {
    model,
    results,
    conclusions,
  }: { readonly model: string; readonly results: string; readonly conclusions?: string | undefined },
): string {
  const names = Object.keys(searchTasks)
  const inOrder = [...lines].sort(
    (a, b) =>
      names.indexOf(a.task) - names.indexOf(b.task) ||
      conditions.indexOf(a.condition ?? '') - conditions.indexOf(b.condition ?? '') ||
      a.seed - b.seed,
  )
  const runs = inOrder.filter((line): line is RunLine => line.kind === 'run')
  const ranks = inOrder.filter((line): line is RankLine => line.kind === 'rank')
  const tasks = Object.keys(searchTasks).filter(name => lines.some(({ task }) => task === name)) as SearchTaskName[]
  const of = (task: string, condition: string) => runs.filter(run => run.task === task && run.condition === condition)
  const seeds = (list: readonly SearchStudyLine[]) => list.map(({ seed }) => seed).join(', ')

  const accuracies = tasks.flatMap(task => {
    const firsts = new Map(runs.filter(run => run.task === task).map(run => [run.seed, run.test.first]))
    const first = [...firsts.values()].flatMap(bitsOf)
    return [
      [searchTasks[task].title, 'first prompt', interval(accuracy(first)), '', [...firsts.keys()].join(', ')],
      ...conditions
        .filter(condition => of(task, condition).length > 0)
        .map(condition => {
          const own = of(task, condition)
          const found = own.flatMap(run => bitsOf(run.test.found))
          const before = own.flatMap(run => bitsOf(run.test.first))
          const ps = own.map(({ p }) => probability(p)).join(', ')
          const gain = pairedMean(found.map((bit, i) => bit - before[i]!))
          return ['', condition, interval(accuracy(found)), `${interval(gain, signed)}; p ${ps}`, seeds(own)]
        }),
    ]
  })

  const rivals = [
    ...['first prompt', 'random-shortlist', 'gradient-without-reasoning', 'promptquine'].map(other => ['greater', other]),
    ...['first prompt', 'random-shortlist', 'greater'].map(other => ['held-reasoning', other]),
    ...['paper-settings', 'best-of-n', 'gepa', 'miprov2', 'capo'].flatMap(condition =>
      ['first prompt', 'random-shortlist'].map(other => [condition, other]),
    ),
  ] as [string, string][]
  const pooled = rivals.flatMap(([condition, other]) => {
    const pairs = runs
      .filter(run => run.condition === condition)
      .flatMap(run => {
        if (other === 'first prompt') return [{ run, theirs: run.test.first }]
        const rival = of(run.task, other).find(({ seed }) => seed === run.seed)
        return rival === undefined ? [] : [{ run, theirs: rival.test.found }]
      })
    if (pairs.length === 0) return []
    const differences = pairs.flatMap(({ run, theirs }) => bitsOf(run.test.found).map((bit, i) => bit - Number(theirs[i])))
    const label = `${condition} − ${other}`
    return [[label, interval(pairedMean(differences), signed), String(pairs.length), String(differences.length)]]
  })

  const kinds = ['withReasoning', 'withoutReasoning', 'heldReasoning', 'gradientWithHeld']
  const correlations = ranks.map(({ task, seed, candidates, better, correlations: known }) => [
    searchTasks[task as SearchTaskName].title,
    String(seed),
    ...kinds.map(kind => known[kind]?.toFixed(2) ?? '–'),
    `${better} of ${candidates}`,
  ])

  const prompts = runs.map(({ task, condition, seed, prompt, steps, generatedTokens, seconds }) => [
    searchTasks[task as SearchTaskName].title,
    condition,
    String(seed),
    `\`${prompt.replaceAll('|', '\\|').replaceAll('\n', '⏎')}\``,
    String(steps),
    generatedTokens.toLocaleString('en-US'),
    String(seconds),
  ])

  return `# Text-prompt search: does the gradient help?

Made by \`node dist/scripts/search-study.js\` (\`--table\` from the lines in \`${results}\`), ${model}, weights at their
stored width. In each task and seed all conditions have the same 24 questions, dev rows, test rows, first prompt and budget of generated tokens.
Dev chooses among the five best prompts and the first; the test rows are scored once. Accuracy is greedy: the model reasons, the extractor asks, and the
answer has to come first and whole. ${runs.length === 0 ? 'No run has been finished with the present code yet.' : 'Conditions that stand in no row have not been run.'} \`--model\` repeats the study with another model.

- \`greater\`: shortlist of three by the gradient over reasoning, out of what the model itself proposes
- \`held-reasoning\`: twelve of those proposals, half by the gradient and half at random, are scored exactly behind the reasoning as it stands, which generates
  nothing; the three best are the shortlist
- \`random-shortlist\`: three at random out of the same proposals, everything else alike
- \`gradient-without-reasoning\`: the gradient of the answer that follows the question at once
- \`promptquine\`: tokens of the first prompt are pruned by evolution
- \`paper-settings\`: \`greater\` with the settings of its paper
- \`best-of-n\`, \`gepa\`, \`miprov2\`, \`capo\`: searches by whole prompts, which the model under test writes itself

## Accuracy on test rows

In per cent, 95 % intervals; the gain is paired with the first prompt on the same rows; McNemar's p seed by seed.

${table(['task', 'condition', 'accuracy', 'gain', 'seeds'], accuracies)}

## Pooled over tasks and seeds

Mean paired difference in percentage points over all test rows of the tasks and seeds that both have.

${table(['', 'difference', 'pairs of runs', 'rows'], pooled)}

## What the gradient knows

Spearman's correlation of some guesses with the exact loss (1 minus the answer's probability behind fresh reasoning) over single swaps drawn from the proposals, at
the first prompt: gradient scores over reasoning and without it, and the exact loss behind the first prompt's own reasoning, held fixed. Then that of the gradient with
the latter. The last column: how many swaps are better than the first prompt.

${table(['task', 'seed', 'gradient', 'without reasoning', 'held reasoning', 'gradient and held', 'better swaps'], correlations)}

${conclusions === undefined ? '' : `${conclusions}\n\n`}## Prompts

${table(['task', 'condition', 'seed', 'prompt', 'steps', 'generated tokens', 'seconds'], prompts)}
`
}
