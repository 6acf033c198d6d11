import { ownCommand } from '../../own-command.js'
import { html } from '../../report/parts/html.js'
import type { Page } from '../../report/parts/page.js'

/** A sweep's page with what can be done with it. */
export const withActions = (page: Page, id: string): Page => ({
  ...page,
  sections: [
    ...page.sections,
    {
      id: 'actions',
      title: 'What can be done',
      body: html`<p class="fields"><button type="button" data-act="sweep" data-id="${id}">Go on with it</button></p><p class="quiet small">as typed: <code>${ownCommand`sweep ${id}`}</code>; others may work on it at the same time.</p><div class="said" role="status" aria-live="polite"></div>`,
    },
  ],
})
