import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError, refuseFullDisk, unknownName } from '../../../errors.js'
import { createFile, exists } from '../../../files.js'
import { ownCommand } from '../../../own-command.js'
import { bundledModel, packageRoot } from '../../../package-root.js'
import { schemaComment } from '../../show/schema-comment.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput } from '../../terminal/output.js'

/** The sample rows of every task: movie reviews, sixteen a class. */
const samples = 'examples/sst2/16-shot/seed-13'

interface Paths {
  readonly train: string
  readonly dev: string
}

/** What one may start from: the command, and its config. */
const tasks: Readonly<Record<string, { readonly command: string; readonly config: (paths: Paths) => string }>> = {
  classification: {
    command: 'tune',
    config: paths => `# What to learn, and from what. Every option: ${ownCommand`tune --help`}
${beginning(paths)}
# {column} stands for a column's value. The answer is what is learned, and what is scored.
template: "Review: {sentence}\\nSentiment:"
answer: " {label}"

method:
  type: prompt-tuning
  numVirtualTokens: 20
  init: { type: text, text: "Classify the sentiment of the movie review as negative or positive." }

train:
  steps: 60            # or epochs: 3
  batchSize: 8
  learningRate: 0.01

seed: 13
`,
  },
  search: {
    command: 'search',
    config: paths => `# Which words to search for, and by what. Every option: ${ownCommand`search --help`}
${beginning(paths)}
# {prompt} is where the searched words stand, {column} a column's value.
template: [{ role: user, content: "Is this movie review negative or positive? Review: {sentence} Use{prompt}" }]
answer: " {label}"

search:
  type: greater        # gradients over the model's own reasoning; ${ownCommand`methods`} lists the others
  prompt: " proper logical reasoning and think step by step. Finally give the actual correct answer."
  extractor: "\\nTherefore, among negative and positive, the sentiment is"   # asks for the answer behind the reasoning; without it there is none
  maxNewTokens: 32     # of reasoning
  questions: 24        # training rows that prompts are scored on
  steps: 30
  rerank: 5            # best prompts that dev chooses from at the end
  budget: { generatedTokens: 12000 }

seed: 13
`,
  },
}

/** `gradprompt init [DIR]` */
export const run: CommandFunction = async ({ argument, options }) => {
  const name = (options.task as string | undefined) ?? 'classification'
  const task = Object.hasOwn(tasks, name) ? tasks[name] : undefined
  if (task === undefined) throw unknownName('unknown-task', 'there is no such task to start from', name, Object.keys(tasks))
  const folder = argument ?? '.'
  const path = (file: string) => (folder === '.' ? file : join(folder, file))
  const files = new Map([
    [path('train.tsv'), await readFile(join(packageRoot(), samples, 'train.tsv'), 'utf8')],
    [path('dev.tsv'), await readFile(join(packageRoot(), samples, 'dev.tsv'), 'utf8')],
    [
      path('gradprompt.yaml'),
      `${schemaComment(task.command, folder)}\n${task.config({ train: path('train.tsv'), dev: path('dev.tsv') })}`,
    ],
  ])
  for (const file of files.keys()) {
    if (!(await exists(file))) continue
    throw new GradpromptError('file-exists', `${file} already exists`, {
      found: file,
      expected: 'a folder without it',
      hint: ownCommand`init another-folder`,
    })
  }
  const made: string[] = []
  try {
    await mkdir(folder, { recursive: true })
    for (const [file, text] of files) {
      await createFile(file, text)
      made.push(file)
    }
  } catch (cause) {
    // Some of the files would stand in the way of the next try.
    for (const file of made) await rm(file, { force: true })
    refuseFullDisk(cause, folder)
    throw new GradpromptError('cannot-write', `cannot write to ${folder}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a folder that can be made and written',
      cause,
    })
  }
  const output = createOutput({})
  for (const file of files.keys()) output.text(`wrote ${file}`)
  output.text(`\nnext: ${ownCommand`${task.command} --config ${path('gradprompt.yaml')}`}`)
  return 0
}

function beginning({ train, dev }: Paths): string {
  return `# Paths are relative to the folder in which gradprompt is started.

model: ${bundledModel}   # a folder, a .gguf file, or a model of the Hugging Face Hub: owner/name

data:
  train: ${JSON.stringify(train)}   # .tsv .csv .jsonl .json .parquet; replace the sample rows with your own
  dev: ${JSON.stringify(dev)}       # chooses what is best; or set a part of train aside: split: { dev: 0.2 }
  # test: test.tsv                  # scored once, at the end
  # columns: [sentence, label]      # for a .tsv or .csv without a header line
  labels: { "0": negative, "1": positive }   # value in the label column: word in the answer
`
}
