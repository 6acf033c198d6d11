import { html } from '../../report/parts/html.js'
import type { Page } from '../../report/parts/page.js'
import type { Example } from '../parts/examples.js'

/** Pages on which something is given: data, a config, a text. What is made of it their scripts ask for. */

export const dataPage = (): Page => ({
  kind: 'data',
  title: 'Data',
  lead: 'A file of rows: what its columns hold, which classes there are, and what is wrong with it. Nothing leaves this machine.',
  tiles: [],
  sections: [
    {
      id: 'file',
      title: 'File',
      body: html`<form id="inspect" class="fields"><label class="drop" id="drop">drop a file here, or choose one: .tsv .csv .jsonl .json .parquet <input type="file" name="file" accept=".tsv,.csv,.jsonl,.ndjson,.json,.parquet,.gz"></label>
<label>or the path of one <input name="path" placeholder="data/train.tsv"></label><button>Look at it</button></form>`,
    },
    {
      id: 'found',
      title: 'What is in it',
      body: html`<div id="result" role="status" aria-live="polite"><p class="quiet">No file yet.</p></div>`,
    },
  ],
})

/** @param examples to start from @param chosen the one that the text is */
export const newPage = (examples: readonly Example[], chosen: Example | undefined): Page => ({
  kind: 'config',
  title: 'New run',
  lead: 'Every option stands in the form, and in the text beside it. Both are the same config; what is not given has its default.',
  tiles: [],
  sections: [
    {
      id: 'config',
      title: 'Config',
      body: html`<div class="fields" role="group" aria-label="command"><label>start from <select id="example"><option value="">nothing</option>${examples.map(({ name }) => html`<option${name === chosen?.name && html` selected`}>${name}</option>`)}</select></label><label>command <select id="command">${['tune', 'search', 'sweep'].map(name => html`<option${name === chosen?.command && html` selected`}>${name}</option>`)}</select></label><label>find an option <input id="find" type="search"></label><button type="button" id="check">Dry run</button><button type="button" id="start" class="strong">Start</button></div>
<div id="said" class="said" role="status" aria-live="polite"></div>
<div class="beside"><form id="form" aria-label="options"></form><div><label for="yaml">config as YAML</label><textarea id="yaml" spellcheck="false" rows="30">${chosen?.yaml ?? ''}</textarea></div></div>`,
    },
    {
      id: 'rows',
      title: 'Dry run',
      body: html`<div id="dry" role="status" aria-live="polite"><p class="quiet">Not asked for yet.</p></div>`,
    },
  ],
})

/** @param runs ids of runs with a prompt */
export const speakPage = (runs: readonly string[], chosen: string | undefined): Page => ({
  kind: 'playground',
  title: 'Playground',
  lead: 'One text, said to the model alone and under the prompt of a run, side by side. The less likely a token was, the more it is marked; it names what else might have stood there.',
  tiles: [],
  sections: [
    {
      id: 'speak',
      title: 'Text',
      body:
        runs.length === 0
          ? html`<p class="quiet">There is no finished run yet.</p>`
          : html`<form id="ask" class="fields"><label>prompt of <select name="run">${runs.map(id => html`<option${id === chosen && html` selected`}>${id}</option>`)}</select></label>
<label class="whole">text <textarea name="text" rows="4" required></textarea></label>
<label><input type="checkbox" name="chat"> in the chat template of the model</label>
<label>new tokens at most <input type="number" name="maxNewTokens" value="32" min="1" max="1024"></label>
<label>temperature <input type="number" name="temperature" value="0" min="0" max="2" step="0.1"></label><button>Say it</button></form>`,
    },
    {
      id: 'answers',
      title: 'Answers',
      body: html`<div id="result" role="status" aria-live="polite"><p class="quiet">None yet.</p></div>`,
    },
  ],
})
