import { basename } from 'node:path'
import { comparisonOf } from '../../api/compare.js'
import { summarizeSweep } from '../../api/sweep/summary.js'
import { comparisonPage } from '../../report/comparison.js'
import type { Chart } from '../../report/parts/charts.js'
import { learningCurves } from '../../report/parts/learning.js'
import { sweepPage } from '../../report/sweeps/page.js'
import { EventLog } from '../../store/events.js'
import { type Asked, isPart } from '../parts/asked.js'
import { commands } from '../parts/config-text.js'
import { exampleConfigs } from '../parts/examples.js'
import type { Framed } from '../parts/frame.js'
import { Refusal } from '../parts/guard.js'
import type { Overview } from '../parts/overview.js'
import { idOf } from '../parts/places.js'
import { dataPage, newPage, speakPage } from './forms.js'
import { listPage } from './list.js'
import { shownRun } from './run.js'
import { withActions } from './sweep.js'

/** Pages by their addresses. */

export type Shown = Framed

/** What is not read by then comes into the page when it is: people rather see the newest runs at once. */
const patienceMilliseconds = 150

/** @throws Refusal `not-found`, GradpromptError of what cannot be read */
export async function shownAt(asked: Asked): Promise<Shown> {
  const { url, places, overview, jobs, request } = asked
  const { pathname, searchParams } = url
  if (pathname === '/') {
    // Of an open page what has changed has been looked at: it has been told of it.
    if (!isPart(request))
      await Promise.race([overview.look(), new Promise(resolve => setTimeout(resolve, patienceMilliseconds).unref())])
    const { runs, sweeps, left } = overview
    const page = listPage({ folder: basename(places.root), runs, sweeps, left, jobs: jobs.all, curves: await curvesOf(runs) })
    return { page, at: '/', script: 'list', about: { live: '/live' } }
  }
  if (pathname === '/new') {
    const examples = await exampleConfigs(places.root)
    const chosen = examples.find(({ name }) => name === searchParams.get('example'))
    return { page: newPage(examples, chosen), at: pathname, script: 'new', about: { commands } }
  }
  if (pathname === '/data') return { page: dataPage(), at: pathname, script: 'data' }
  if (pathname === '/speak') {
    await overview.look()
    const finished = overview.runs.filter(({ summary }) => summary?.state === 'finished').map(({ id }) => id)
    const chosen = searchParams.get('run') ?? undefined
    const ids = chosen === undefined || finished.includes(chosen) ? finished : [(await places.place(chosen)).id, ...finished]
    return { page: speakPage(ids, chosen), at: pathname, script: 'speak' }
  }
  if (pathname === '/compare') {
    const found = await Promise.all(searchParams.getAll('run').map(id => places.place(id)))
    const { report } = await comparisonOf(found.map(({ id, folder }) => ({ name: id.replace(/^runs\//, ''), paths: [folder] })))
    return { page: comparisonPage(await report()), at: '/', script: 'plain' }
  }
  if (pathname.startsWith('/at/')) {
    const place = await places.place(idOf(pathname.slice('/at/'.length).replace(/\/$/, '')))
    const live = `/live?id=${encodeURIComponent(place.id)}`
    if (place.kind === 'sweep') {
      const page = withActions(sweepPage(await summarizeSweep(place.folder)), place.id)
      return { page, at: '/', script: 'sweep', about: { live, id: place.id } }
    }
    const { page, state } = await shownRun(place)
    return { page, at: '/', script: 'run', about: { live, id: place.id, state } }
  }
  throw new Refusal(404, 'not-found', 'there is nothing at this address')
}

/** More curves at once say nothing. */
const mostCurves = 12

/** The loss of each run that is under way. */
async function curvesOf(runs: Overview['runs']): Promise<Record<string, Chart>> {
  const running = runs.filter(({ summary }) => summary?.state === 'running').slice(0, mostCurves)
  const found = await Promise.all(
    running.map(async ({ id, folder }): Promise<[string, Chart][]> => {
      const events = await new EventLog(`${folder}/events.jsonl`).read().catch(() => [])
      const isSearch = events.some(({ event, objective }) => event === 'step' && objective !== undefined)
      const named = isSearch ? events.map(event => ({ ...event, loss: event.objective })) : events
      const loss = learningCurves(named, undefined)?.charts.loss
      return loss === undefined ? [] : [[`live-${id}`, loss]]
    }),
  )
  return Object.fromEntries(found.flat())
}
