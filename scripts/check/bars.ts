import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { exportPrompt } from '../../src/api/export.js'
import { generate } from '../../src/api/generation/generate.js'
import { readRecords } from '../../src/data/read.js'
import { exportTargets } from '../../src/export/index.js'
import type { SelfTest } from '../../src/export/self-test.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { type LearnedRun, readLearnedRun } from '../../src/sources/run.js'
import { learnedRun } from './exported-prompts.js'

/**
 * How far the tools that exports are for are from what is computed here, in figures: every method in every target that holds it, over 32
 * texts and 32 greedy tokens each; and of a run of `gradprompt tune` the share of 200 rows that is answered rightly. The self-tests of the
 * exports are made that large, and their own scripts run them.
 */

const rows = 32
const tokens = 32
const answered = 200
const texts = join('examples', 'sst2', 'dev.tsv')

export interface BarsOptions {
  readonly models: readonly string[]
  readonly python: string
  /** A folder with node-llama-cpp. */
  readonly llama: string | undefined
  /** A run whose answers are counted. */
  readonly run: string | undefined
  /** Whether a check of this name is to run. */
  chosen(name: string): boolean
}

/** A line that a self-test's script prints for a case. */
interface Line {
  readonly same: boolean
  readonly logits: number
  /** llama.cpp's: the mean over the largest logits. */
  readonly mean?: number
  readonly greedy: readonly number[]
}

const casesOf = (place: string) => (JSON.parse(readFileSync(join(place, 'self-test.json'), 'utf8')) as SelfTest).cases

/** Prints a table of Markdown. @returns whether every script ran */
export async function bars({ models, python, llama, run, chosen }: BarsOptions): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-bars-'))
  let ran = true
  /** What a consumer says of an export; nothing where its script breaks down. */
  const consumed = (target: string, place: string, base: string): Line[] | undefined => {
    const scripts: Readonly<Record<string, readonly string[]>> = {
      peft: [join('scripts', 'check', 'peft_self_test.py'), '--base', base, '--adapter', place, '--forward'],
      hf: [join(place, 'self_test.py')],
      onnx: [join(place, 'self_test.py')],
      kv: [join(place, 'self_test.py'), '--base', base],
      embeds: [join(place, 'self_test.py'), '--base', base],
      gguf: [join(place, 'self-test.mjs')],
    }
    const env = { ...process.env, ...(target === 'gguf' && { NODE_LLAMA_CPP: llama }) }
    const command = target === 'gguf' ? process.execPath : python
    const { stdout, stderr } = spawnSync(command, scripts[target]!, { encoding: 'utf8', env, maxBuffer: 2 ** 28 })
    const lines = stdout.split('\n').flatMap(line => (line.startsWith('{') ? [JSON.parse(line) as Line] : []))
    const expected = casesOf(place).length
    if (lines.length === expected) return lines
    ran = false
    console.error(`${target} broke down: ${stderr.slice(-2000)}`)
    return undefined
  }
  const targets = ['peft', 'hf', 'onnx', 'kv', 'embeds', ...(llama === undefined ? [] : ['gguf'])]
  try {
    console.log(
      `| model | method | target | texts with our ${tokens} tokens | largest difference of a top-5 logit |\n| --- | --- | --- | --- | --- |`,
    )
    for (const name of models) {
      const model = await LanguageModel.load(name)
      try {
        const data = { train: texts, columns: ['text', 'label'] }
        const made = async (type: string, target: string, run: LearnedRun, selfTest: { rows: number; tokens: number }) => {
          const out = join(folder, `${model.name}-${type}-${target}`)
          rmSync(out, { recursive: true, force: true })
          await exportPrompt(run, { to: target, out, model, selfTest })
          return out
        }
        // An exported checkpoint has the base model's rows, and more: it serves as one for what is exported beside it.
        const base = join(folder, 'base')
        rmSync(base, { recursive: true, force: true })
        const basedOn = async (target: string) => {
          if (!['peft', 'kv', 'embeds'].includes(target) || existsSync(base)) return
          await exportPrompt(await learnedRun(model, name, 'prompt-tuning', { data }), { to: 'hf', out: base, model })
        }
        for (const [type, method] of promptMethods) {
          const holding = targets.filter(
            target => exportTargets.get(target).holds(method) && chosen(`${name}, ${type}: ${target}`),
          )
          if (holding.length === 0) continue
          const run = await continued(await learnedRun(model, name, type, { data }), model)
          for (const target of holding) {
            const place = await made(type, target, run, { rows, tokens })
            await basedOn(target)
            const lines = consumed(target, place, base)
            if (lines === undefined) continue
            const same = lines.filter(line => line.same).length
            const off = Math.max(...lines.map(({ logits }) => logits))
            const mean = lines.reduce((sum, line) => sum + (line.mean ?? 0), 0) / lines.length
            const figure = target === 'gguf' ? `${off.toPrecision(2)}, mean ${mean.toPrecision(2)}` : off.toPrecision(2)
            console.log(`| ${model.name} | \`${type}\` | \`${target}\` | ${same} of ${lines.length} | ${figure} |`)
            rmSync(place, { recursive: true, force: true })
          }
        }
        if (run !== undefined) await answers(run, model, { base, basedOn })
      } finally {
        await model.dispose()
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return ran

  /** The run with its own continuations for answers: an export that guesses them runs the model a few times, and not once for each token. */
  async function continued(run: LearnedRun, model: LanguageModel): Promise<LearnedRun> {
    const { records } = await readRecords(texts, { columns: ['text', 'label'], task: undefined, needed: ['text'] })
    const inputs = records.slice(0, rows).map(({ text }) => ({ text: String(text) }))
    // Without labels, none of which an answer ends with.
    const prompt = { ...run, prompt: { ...run.prompt, labels: undefined } }
    const answers = await generate({ model, prompt, inputs, maxNewTokens: tokens })
    const train = join(folder, 'continued.jsonl')
    writeFileSync(train, inputs.map(({ text }, i) => `${JSON.stringify({ text, label: answers[i]!.text })}\n`).join(''))
    return { ...run, config: { ...run.config, data: { ...run.config.data, train, columns: undefined }, answer: '{label}' } }
  }

  /** A run's answers: the first token that is generated is the answer's, or not. */
  async function answers(
    given: string,
    model: LanguageModel,
    { base, basedOn }: { readonly base: string; readonly basedOn: (target: string) => Promise<void> },
  ): Promise<void> {
    const { config: task, prompt } = await readLearnedRun(given)
    if (prompt.model.hash !== model.hash) return
    const test = task.data.test ?? task.data.dev ?? task.data.train
    const config = { ...task, data: { ...task.data, train: test } }
    const { records } = await readRecords(test, { columns: task.data.columns, task: task.data.task, needed: ['label'] })
    const words = task.data.labels ?? {}
    const gold = records.slice(0, answered).map(({ label }) => {
      const word = [words[String(label)] ?? String(label)].flat()[0]!
      return model.tokenizer.encode(task.answer.replace('{label}', word), { addSpecialTokens: false })[0]
    })
    console.log(`\n| target | right of ${gold.length} there | here |\n| --- | --- | --- |`)
    for (const target of targets) {
      const method = promptMethods.get(prompt.method.type)
      if (!exportTargets.get(target).holds(method) || !chosen(`answers: ${target}`)) continue
      const place = join(folder, `answers-${target}`)
      const run = { folder: given, config, prompt }
      await exportPrompt(run, { to: target, out: place, model, selfTest: { rows: answered, tokens: 1 } })
      await basedOn(target)
      const lines = consumed(target, place, base)
      const cases = casesOf(place)
      const right = (all: readonly { readonly greedy: readonly number[] }[]) =>
        all.filter(({ greedy }, i) => greedy[0] === gold[i]).length
      if (lines !== undefined) console.log(`| \`${target}\` | ${right(lines)} | ${right(cases)} |`)
      rmSync(place, { recursive: true, force: true })
    }
  }
}
