import { html, type Markup, tokenText } from '../../report/parts/html.js'
import { wide } from '../../report/parts/page.js'
import type { Job, JobEvent } from '../parts/jobs.js'
import type { Answer, SpokenToken } from '../parts/speaker.js'

/** What a command came to, as a piece of a page. What it says is read as it may be: a field that is not there says nothing. */

const mostShown = 60

export function jobMarkup(job: Job, readme?: string): Markup {
  const error = job.events.find(({ event }) => event === 'error')
  const warnings = job.events.filter(({ event }) => event === 'warning')
  const heard = warnings.map(({ code, message }) => html`<p class="warning"><b>${String(code)}</b> ${String(message)}</p>`)
  if (job.state === 'running') return html`${heard}<p class="quiet">at work …</p>`
  if (error !== undefined) return html`${heard}${errorMarkup(error)}`
  if (job.state === 'stopped') return html`${heard}<p>stopped</p>`
  if (job.state === 'failed')
    return html`${heard}<p class="warning">${job.notes.trim().split('\n').at(-1) ?? 'it has failed'}</p>`
  const last = job.events.at(-1)
  const made =
    last?.event === 'inspect' && last.kind === 'data'
      ? dataMarkup(last)
      : last?.event === 'dry-run'
        ? dryRunMarkup(last)
        : last?.event === 'result' && Array.isArray(last.files)
          ? html`<p>written to <code>${String(last.folder)}</code>: ${last.files.map(String).join(', ')}</p>${readme !== undefined && html`<pre class="readme">${readme}</pre>`}`
          : html`<p>done</p>`
  return html`${made}${heard}`
}

export const errorMarkup = ({ code, message, found, expected, hint }: JobEvent): Markup =>
  html`<div class="warning"><b>${String(code)}</b> ${String(message)}${found != null && html`<br>found: ${String(found)}`}${expected != null && html`<br>expected: ${String(expected)}`}${hint != null && html`<br>${String(hint)}`}</div>`

interface Column {
  readonly name: string
  readonly kind: string
  readonly different: number
  readonly empty: number
  readonly nulls: number
  readonly absent: number
  readonly length?: { readonly least: number; readonly median: number; readonly most: number }
  readonly values?: readonly { readonly value: string; readonly rows: number }[]
}

/** `inspect DATA` */
function dataMarkup(event: JobEvent): Markup {
  const { path, format, rows, columns, suggestion, data, warnings } = event as unknown as {
    path: string
    format: string
    rows: number
    columns: readonly Column[]
    suggestion: { kind: string; template: unknown; answer: string } | null
    data: DataShown | null
    warnings: readonly { code: string; message: string }[]
  }
  const lines = columns
    .slice(0, mostShown)
    .map(
      ({ name, kind, different, empty, nulls, absent, length, values }) =>
        html`<tr><th scope="row">${name}</th><td data-name="kind">${kind}</td><td class="number" data-name="different">${different}</td><td data-name="length">${length && `${length.least} to ${length.most}, median ${length.median}`}</td><td data-name="missing">${[empty > 0 && `${empty} empty`, nulls > 0 && `${nulls} null`, absent > 0 && `absent in ${absent}`].filter(Boolean).join(', ')}</td><td data-name="values" class="text">${values?.slice(0, 12).map(({ value, rows }) => html`<span class="tag">${value.slice(0, 80)} ${rows}</span> `)}</td></tr>`,
    )
  const template =
    suggestion && (typeof suggestion.template === 'string' ? suggestion.template : JSON.stringify(suggestion.template))
  return html`<p><b>${path}</b>: ${rows} rows, read as ${format}</p>
${warnings.map(({ code, message }) => html`<p class="warning"><b>${code}</b> ${message}</p>`)}
${wide(html`<table class="stacks"><thead><tr><th>column</th><th>kind</th><th class="number">different</th><th>characters</th><th>missing</th><th>values</th></tr></thead><tbody>${lines}</tbody></table>`)}
${suggestion && html`<h3>looks like ${suggestion.kind}</h3><dl class="facts"><dt>template</dt><dd><code>${template}</code></dd><dt>answer</dt><dd><code>${suggestion.answer}</code></dd></dl>`}
${data && partsMarkup(data)}
<p class="fields"><a href="/new?data=${encodeURIComponent(path)}&template=${encodeURIComponent(template ?? '')}&answer=${encodeURIComponent(suggestion?.answer ?? '')}">Make a config of it</a></p>`
}

interface DataShown {
  readonly parts?: Readonly<
    Record<
      string,
      {
        readonly rows: number
        readonly classes?: readonly { readonly label: string; readonly rows: number }[]
        readonly repeated?: { readonly rows: number }
      }
    >
  >
}

function partsMarkup({ parts = {} }: DataShown): Markup {
  const lines = Object.entries(parts).map(
    ([name, { rows, classes = [], repeated }]) =>
      html`<tr><th scope="row">${name}</th><td class="number">${rows}</td><td>${classes.slice(0, mostShown).map(({ label, rows }) => html`<span class="tag">${label} ${rows}</span> `)}</td><td class="number">${repeated?.rows ?? 0}</td></tr>`,
  )
  return wide(
    html`<table><thead><tr><th>part</th><th class="number">rows</th><th>classes</th><th class="number">repeated</th></tr></thead><tbody>${lines}</tbody></table>`,
  )
}

/** `tune --dry-run`, `search --dry-run`, `sweep --dry-run` */
function dryRunMarkup(event: JobEvent): Markup {
  const { method, parameters, steps, batchSize, memory, data, warnings, examples } = event as unknown as {
    method?: string
    parameters?: number
    steps?: number
    batchSize?: number
    memory?: { readonly weights?: number; readonly firstBatch?: number }
    data?: DataShown
    warnings?: readonly { code: string; message: string }[]
    examples?: readonly {
      readonly origin: string
      readonly tokens: number
      readonly segments: readonly { readonly role: string; readonly text: string }[]
    }[]
  }
  const fact = (name: string, value: unknown) => value !== undefined && html`<dt>${name}</dt><dd>${String(value)}</dd>`
  const megabytes = (value: number | undefined) => (value === undefined ? undefined : `${(value / 1e6).toFixed(1)} MB`)
  return html`${(warnings ?? []).map(({ code, message }) => html`<p class="warning"><b>${code}</b> ${message}</p>`)}
<dl class="facts">${fact('method', method)}${fact('numbers to learn', parameters)}${fact('steps', steps)}${fact('rows of a batch', batchSize)}${fact('weights', megabytes(memory?.weights))}${fact('a batch', megabytes(memory?.firstBatch))}</dl>
${data && partsMarkup(data)}
${(examples ?? []).map(({ origin, tokens, segments }) => html`<h3>${origin}, ${tokens} tokens</h3><p class="prompt">${segments.map(({ role, text }) => (role === 'label' ? html`<mark>${text}</mark>` : text))}</p>`)}
${examples === undefined && html`<pre class="readme">${JSON.stringify(event, null, 1).slice(0, 20_000)}</pre>`}`
}

/** Answers beside each other, token by token. */
export function answersMarkup(answers: readonly Answer[]): Markup {
  return html`<div class="charts">${answers.map(
    ({ model, text, tokens, error }, i) =>
      html`<div class="panel"><h3>${model}${i === 0 && html` <span class="quiet">alone</span>`}</h3>${error !== undefined ? html`<p class="warning">${error}</p>` : html`<p class="prompt">${tokens.length === 0 ? text : tokens.map(spoken)}</p><details><summary>each token</summary><ol class="tokens-list">${tokens.map(token => html`<li>${tokenText(token.token)} ${percentOf(token)} <span class="quiet small">${token.others.map(other => html`${tokenText(other.token)} ${percentOf(other)} `)}</span></li>`)}</ol></details>`}</div>`,
  )}</div>`
}

const percentOf = ({ logProbability }: Pick<SpokenToken, 'logProbability'>) => `${(100 * Math.exp(logProbability)).toFixed(1)} %`

const spoken = (token: SpokenToken): Markup =>
  html`<span class="weighed" style="--doubt:${(1 - Math.exp(token.logProbability)).toFixed(3)}" title="${percentOf(token)}; ${token.others.map(other => `${JSON.stringify(other.token)} ${percentOf(other)}`).join(', ')}">${token.token}</span>`
