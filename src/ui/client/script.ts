import { chartScript, explorerScript, savingScript } from '../../report/parts/scripts.js'
import { configScript } from './config.js'
import { dataScript, speakScript } from './giving.js'

/**
 * The script of the pages. What changes on the disk is told by a stream of events without content; the page is then asked for anew, and what
 * differs is put in the place of what stood there, so that nobody loses what they are reading or writing.
 */
const liveScript = `
const readJson = id => JSON.parse(document.getElementById(id)?.textContent ?? '{}')
const about = readJson('about')
const charts = readJson('charts')
const ask = async (path, body) => {
  const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.error?.message ?? 'this has failed')
  return answer
}
const saidIn = (place, text, kind = 'warning') => { place.replaceChildren(Object.assign(document.createElement('p'), { className: kind, textContent: text })) }
const startExplorers = document => { ${explorerScript} }

/** A command is asked about until it has ended; what it came to is shown. */
const follow = async (place, answer, onHref) => {
  for (;;) {
    place.innerHTML = answer.html
    if (answer.href && onHref && onHref(answer)) return answer
    if (answer.state !== 'running') return answer
    await new Promise(resolve => setTimeout(resolve, 400))
    answer = await ask('/do/job', { job: answer.job })
  }
}

/** Whoever types is not interrupted, nor who has filtered a table. */
const isBusy = section => section.contains(document.activeElement) && document.activeElement.matches('input, select, textarea') || [...section.querySelectorAll('input[type=search]')].some(input => input.value !== '')
const sectionsOf = root => new Map([...root.querySelectorAll('section[aria-labelledby]')].map(section => [section.getAttribute('aria-labelledby'), section]))
/** What each section was as it came: scripts and people change what stands there. */
const served = new Map([...sectionsOf(document)].map(([id, section]) => [id, section.innerHTML]))
const plotsOf = root => [...root.querySelectorAll('.plot')].map(({ id }) => id).join('\\n')

/** Puts what differs in a page that has come anew into the one that is open. */
function renew(text) {
  const fresh = new DOMParser().parseFromString(text, 'text/html')
  const [old, now] = [document.getElementById('page'), fresh.getElementById('page')]
  const newCharts = JSON.parse(fresh.getElementById('charts').textContent)
  const [before, after] = [sectionsOf(old), sectionsOf(now)]
  for (const id of Object.keys(charts)) if (!(id in newCharts)) { drawn.get(id)?.destroy(); drawn.delete(id); delete charts[id] }
  const same = id => charts[id] && charts[id].lines.length === newCharts[id].lines.length && drawn.has(id)
  const kept = new Set(Object.keys(newCharts).filter(same))
  Object.assign(charts, newCharts)
  const whole = [...before.keys()].join() !== [...after.keys()].join()
  if (whole && !isBusy(old)) {
    served.clear()
    after.forEach((section, id) => served.set(id, section.innerHTML))
    old.replaceWith(document.adoptNode(now))
    startExplorers(now)
    drawAll()
    now.querySelectorAll('.plot').forEach(plot => watcher.observe(plot))
    return
  }
  for (const part of ['.lead', '.tiles', '.verdict']) {
    const [was, is] = [old.querySelector(part), now.querySelector(part)]
    if (was && is && was.innerHTML !== is.innerHTML) was.replaceWith(document.adoptNode(is))
  }
  for (const [id, section] of after) {
    const was = before.get(id)
    if (!was || served.get(id) === section.innerHTML || isBusy(was)) continue
    if (section.querySelector('.plot') && plotsOf(section) === plotsOf(was)) continue
    served.set(id, section.innerHTML)
    const held = was.contains(document.activeElement) && document.activeElement !== document.body
    was.replaceWith(document.adoptNode(section))
    if (held) section.querySelector('button, a, input, select')?.focus({ preventScroll: true })
    startExplorers(section)
    section.querySelectorAll('.plot').forEach(plot => { kept.delete(plot.id); watcher.observe(plot) })
  }
  for (const id of Object.keys(charts)) kept.has(id) ? drawn.get(id).setData(charts[id].data) : draw(id)
}

/** Listens while the page is looked at: a browser opens few streams at once, and a page in the background needs none. */
function listen(address) {
  let [stream, asking, again] = [null, false, false]
  const connection = document.getElementById('connection')
  const refresh = async () => {
    if (asking) { again = true; return }
    asking = true
    const begun = performance.now()
    try {
      const response = await fetch(location.href, { headers: { 'x-part': 'page' } })
      if (response.ok) renew(await response.text())
    } catch {}
    // A page that is much work is made less often.
    setTimeout(() => { asking = false; if (again) { again = false; refresh() } }, Math.max(100, 3 * (performance.now() - begun)))
  }
  const open = () => {
    if (stream || document.hidden) return
    stream = new EventSource(address)
    stream.onopen = () => { connection.textContent = ''; refresh() }
    stream.onerror = () => { connection.textContent = 'not connected' ; if (stream?.readyState === 2) { stream = null; setTimeout(open, 3000) } }
    stream.addEventListener('changed', refresh)
  }
  document.addEventListener('visibilitychange', () => { if (document.hidden) { stream?.close(); stream = null } else open() })
  open()
}
`

const actingScript = `
const placeOf = element => element.closest('section')?.querySelector('.said') ?? element.parentElement
async function doIt(element, body) {
  const place = placeOf(element)
  try {
    const answer = await ask('/do/' + element.dataset.act, body)
    if (answer.job && element.dataset.act !== 'stop-job') await follow(place, answer)
    else place.innerHTML = answer.html
  } catch (error) { saidIn(place, error.message) }
}
document.addEventListener('click', ({ target }) => {
  const button = target.closest('button[data-act]')
  if (!button) return
  const { act: _, ...body } = button.dataset
  doIt(button, body)
})
document.addEventListener('submit', event => {
  const form = event.target
  event.preventDefault()
  const given = Object.fromEntries(new FormData(form))
  if (form.dataset.act) doIt(form, { id: form.dataset.id, ...given })
  if (form.id === 'compare') {
    const id = href => href.replace(/^\\/at\\//, '').replace(/\\/$/, '').split('/').map(decodeURIComponent).join('/')
    const runs = [given.first, ...new FormData(form).getAll('others')].filter((href, i, all) => all.indexOf(href) === i)
    location.href = '/compare?' + runs.map(href => 'run=' + encodeURIComponent(id(href))).join('&')
  }
})
`

/** The end: what a page does when it opens. */
const openingScript = `
startExplorers(document)
if (about.live) listen(about.live)
const openings = { new: openConfig, data: openData, speak: openSpeak }
openings[document.body.dataset.page]?.()
`

export const uiScript = [
  liveScript,
  chartScript,
  savingScript,
  actingScript,
  configScript,
  dataScript,
  speakScript,
  openingScript,
].join(';\n')
