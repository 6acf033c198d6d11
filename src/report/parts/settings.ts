import { stringify } from 'yaml'
import type { StoredEvent } from '../../store/events.js'
import { type Fact, factList } from './cost.js'
import { html, type Markup } from './html.js'

/** With what a run was made: its config as a file that makes it again, machine and versions. */
export function settings(config: unknown, details: unknown): Markup {
  const { environment, model, data } = (details ?? {}) as Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>
  const known = (name: string, value: unknown): Fact | undefined =>
    value === undefined ? undefined : [name, typeof value === 'object' ? JSON.stringify(value) : String(value)]
  const files = Object.entries(data ?? {}).map(([part, file]): Fact => {
    const { path, sha256, rows } = file as { path?: string; sha256?: string; rows?: number }
    return [part, html`${path}${rows !== undefined && `, ${rows} rows`} <span class="quiet small">${sha256?.slice(0, 12)}</span>`]
  })
  const facts = [
    known('model', model && `${model.name} (${String(model.hash).slice(0, 12)})`),
    ...files,
    ...Object.entries(environment ?? {})
      .filter(([name]) => name !== 'processorFeatures')
      .map(([name, value]) => known(name, value)),
  ]
  return html`<div class="settings">${factList(facts)}<details open><summary>config.yaml</summary><pre>${stringify(config)}</pre></details></div>`
}

/** What a run warned of. */
export function warnings(events: readonly StoredEvent[]): Markup | undefined {
  const heard = events.filter(({ event }) => event === 'warning')
  if (heard.length === 0) return undefined
  return html`${heard.map(({ code, message }) => html`<p class="warning"><b>${String(code)}</b> ${String(message)}</p>`)}`
}
