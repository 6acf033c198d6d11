import { promptMethods } from '../prompts/methods/index.js'
import { exportTargets, reasonOf } from './index.js'

/** The table of what reaches what, as `docs/exports.md` has it: a line a method, a column a target. Made of what targets declare. */
export function exportTable(): string {
  const methods = [...promptMethods]
  // What takes words alone has no line of vectors.
  const targets = [...exportTargets].filter(([, target]) => methods.some(([, method]) => target.holds(method)))
  const forms = new Map<string, number>()
  const cell = (text: string) => {
    const number = forms.get(text) ?? forms.size + 1
    forms.set(text, number)
    return String(number)
  }
  const rows = methods.map(([type, method]) => [
    `\`${type}\``,
    ...targets.map(([, target]) => (target.holds(method) ? cell(target.form?.(method) ?? target.description) : '-')),
  ])
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const head = ['method', ...targets.map(([name]) => `\`${name}\``)]
  const reasons = methods.flatMap(([type, method]) =>
    targets.flatMap(([name, target]) => (target.holds(method) ? [] : [{ type, name, why: reasonOf(target, method) }])),
  )
  const whys = groups(reasons)
  return [
    [head, head.map(() => '---'), ...rows].map(line).join('\n'),
    [...forms].map(([text, number]) => `${number}. ${text}`).join('\n'),
    whys.join('\n'),
  ].join('\n\n')
}

/** Why a cell is empty, each reason once. */
function groups(reasons: readonly { readonly type: string; readonly name: string; readonly why: string }[]): string[] {
  const by = new Map<string, Map<string, string[]>>()
  for (const { type, name, why } of reasons) {
    const types = by.get(why) ?? new Map<string, string[]>()
    types.set(type, [...(types.get(type) ?? []), name])
    by.set(why, types)
  }
  return [...by].map(
    ([why, types]) => `- ${[...types].map(([type, names]) => `\`${type}\` to ${names.join(', ')}`).join('; ')}: ${why}.`,
  )
}
