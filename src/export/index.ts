import { GradpromptError } from '../errors.js'
import { inWords, type Look, textOrNothing } from '../own-calls.js'
import type { PromptMethod } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { Registry } from '../registry.js'
import { embeds } from './embeds.js'
import { gguf } from './gguf.js'
import { gradprompt } from './gradprompt.js'
import { hf } from './hf.js'
import { js } from './js.js'
import { kv } from './kv.js'
import { ollama } from './ollama.js'
import { onnx } from './onnx.js'
import { peft } from './peft.js'
import type { ExportTarget } from './target.js'
import { text } from './text.js'

/** Every target that is built in. A new one is a file beside `peft.ts`, and a word here. */
const builtIn: readonly ExportTarget[] = [peft, hf, gguf, ollama, onnx, kv, embeds, text, js, gradprompt]

const yesOrNo: Look = given => (typeof given === 'boolean' ? undefined : { found: inWords(given), expected: 'true or false' })

/** Every target by its name; people's own join in. */
export const exportTargets = new Registry<ExportTarget>(
  {
    word: 'target',
    exports: ['target'],
    name: 'name',
    requires: { description: 'a text', holds: 'a function', write: 'a function' },
    may: { form: 'a function', reason: 'a function', writeFound: 'a function', takes: 'a list' },
    calls: { later: ['write', 'writeFound'], looks: { holds: yesOrNo, form: textOrNothing, reason: textOrNothing } },
  },
  builtIn.map((target): [string, ExportTarget] => [target.name, target]),
)

/** What prompts of a method can be exported to; `elsewhere`: and be run by another tool. */
export async function targetsOf(type: string, { elsewhere = false }: { elsewhere?: boolean } = {}): Promise<string[]> {
  const method = promptMethods.get(await promptMethods.load(type))
  const fitting = [...exportTargets].filter(
    ([, target]) => target.holds(method) && !(elsewhere && (target.needsGradprompt || target.inexact)),
  )
  return fitting.map(([name]) => name)
}

/** Whether a target takes a prompt of several tasks whole. */
const takesSeveral = ({ severalTasks = false }: ExportTarget, method: PromptMethod): boolean =>
  typeof severalTasks === 'function' ? severalTasks(method) : severalTasks

/** Where other tools can be given what was learned, and as which of several tasks where a tool takes no more than one. */
export async function exportsElsewhere(config: {
  readonly type: string
}): Promise<readonly { readonly target: string; readonly task: string | undefined }[]> {
  const targets = await targetsOf(config.type, { elsewhere: true })
  const method = promptMethods.get(config.type)
  const { names = [], ofAnswer } = method.tasks?.(config) ?? {}
  // What stands in front of a text then hangs on the answer, which no other tool knows.
  if (names.length > 1 && ofAnswer !== undefined) return []
  const isOne = (target: string) => names.length < 2 || takesSeveral(exportTargets.get(target), method)
  return targets.map(target => ({ target, task: isOne(target) ? undefined : names[0] }))
}

/** Why a target cannot hold what a method learns. */
export const reasonOf = ({ reason }: ExportTarget, method: PromptMethod): string =>
  reason?.(method) ?? 'what it computes depends on the text, so no fixed files come to the same'

/**
 * Refuses what a target cannot hold, before any model is loaded.
 * @throws GradpromptError `not-exportable` with the nearest target that can
 */
export function refuseUnheld(target: ExportTarget, method: PromptMethod, config: { readonly type: string }): void {
  const { type } = method
  if (!target.holds(method)) {
    const others = [...exportTargets]
      .filter(([, other]) => other.holds(method) && !other.needsGradprompt && !other.inexact)
      .map(([name]) => name)
    const instead =
      others.length > 0
        ? `${others.join(', ')} can: --to ${others[0]}`
        : 'no other tool can run it: gradprompt serve does, and --to gradprompt keeps it in one file'
    const held = [...promptMethods].filter(([, other]) => target.holds(other)).map(([name]) => name)
    throw new GradpromptError('not-exportable', `${target.name} cannot hold a prompt of ${type}: ${reasonOf(target, method)}`, {
      found: `method.type: ${type}`,
      expected: held.length > 0 ? `one of ${held.join(', ')}` : 'a run of gradprompt search',
      hint: instead,
    })
  }
  const tasks = method.tasks?.(config)?.names ?? []
  // What stands in front of a text then hangs on the answer that is asked about, which no other tool knows.
  const byAnswer = method.tasks?.(config)?.ofAnswer !== undefined
  if (tasks.length > 1 && !(byAnswer ? target.needsGradprompt : takesSeveral(target, method))) {
    throw new GradpromptError('not-exportable', `${target.name} holds one prompt, and this one is of several tasks`, {
      found: `tasks ${tasks.join(', ')}`,
      expected: 'a prompt of one task',
      hint: `${[...exportTargets]
        .filter(([, other]) => (byAnswer ? other.needsGradprompt : takesSeveral(other, method)))
        .map(([name]) => name)
        .join(', ')} can hold several${byAnswer ? '' : '; --prompt-task NAME exports one of them'}`,
    })
  }
  if (numSoftTokens(config) > 0 && !target.softTokens) {
    throw new GradpromptError('not-exportable', `${target.name} has no place for a template's soft tokens`, {
      found: `${numSoftTokens(config)} soft tokens inside the template`,
      expected: 'a prompt whose template is plain text',
      hint: `${[...exportTargets]
        .filter(([, other]) => other.softTokens)
        .map(([name]) => name)
        .join(', ')} can hold them`,
    })
  }
}
