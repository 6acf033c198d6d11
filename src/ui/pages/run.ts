import { runPage } from '../../api/report.js'
import { targetsOf } from '../../export/index.js'
import { ownCommand } from '../../own-command.js'
import { defaultMethod } from '../../prompts/default-method.js'
import { promptMethods } from '../../prompts/methods/index.js'
import { html, type Markup } from '../../report/parts/html.js'
import type { Page, Section } from '../../report/parts/page.js'
import { openRun, type Run } from '../../store/run-folder.js'
import type { Place } from '../parts/places.js'

/** A run: its report as it stands now, and what can be done with it. */

export interface ShownRun {
  readonly page: Page
  readonly state: 'finished' | 'running' | 'stopped'
}

/** @throws GradpromptError `run-corrupt` */
export async function shownRun({ id, folder }: Place): Promise<ShownRun> {
  const run = await openRun(folder)
  const page = await runPage(run)
  const state = (await run.readResult()) !== undefined ? 'finished' : (await run.writer()) !== undefined ? 'running' : 'stopped'
  const actions: Section = { id: 'actions', title: 'What can be done', body: await actionsOf(run, id, state) }
  return {
    state,
    page: {
      ...page,
      title: id.replace(/^runs\//, ''),
      lead: html`${page.lead} This run is <b>${state}</b>.`,
      sections: [actions, ...page.sections],
    },
  }
}

async function actionsOf(run: Run, id: string, state: ShownRun['state']): Promise<Markup> {
  const button = (act: string, text: string) => html`<button type="button" data-act="${act}" data-id="${id}">${text}</button>`
  if (state === 'running')
    return html`<p class="fields">${button('stop', 'Stop with a checkpoint')}</p><p class="quiet small">It can be gone on with, to the same bits.</p>${said}`
  const typed = (command: string) => html`<p class="quiet small">as typed: <code>${command}</code></p>`
  if (state === 'stopped')
    return html`<p class="fields">${button('resume', 'Go on')}</p>${typed(ownCommand`resume ${id}`)}${said}`
  const { method } = run.config as { readonly method?: { readonly type?: unknown } }
  const type = typeof method?.type === 'string' ? method.type : defaultMethod.type
  // To look at a run loads no module that its config names.
  const targets = run.isSearch ? ['text'] : promptMethods.find(type) === undefined ? [] : await targetsOf(type)
  return html`${targets.length > 0 && html`<form class="fields" data-act="export" data-id="${id}"><label>export to <select name="to">${targets.map(target => html`<option>${target}</option>`)}</select></label><button>Export</button></form>`}
<form class="fields" data-act="evaluate" data-id="${id}"><label>score on <input name="data" placeholder="test.tsv" required></label><button>Evaluate</button></form>
<p class="fields"><a href="/speak?run=${encodeURIComponent(id)}">Speak with it</a></p>
${targets[0] !== undefined && typed(ownCommand`export ${id} --to ${targets[0]} --out exports`)}${said}`
}

/** Where it is said what became of an action. */
const said = html`<div class="said" role="status" aria-live="polite"></div>`
