import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { isDataName } from '../data/readers/index.js'
import { GradpromptError } from '../errors.js'
import { createFile } from '../files.js'
import { html } from '../report/parts/html.js'
import { freeFolder, openRun } from '../store/run-folder.js'
import { answersMarkup, jobMarkup } from './pages/fragments.js'
import type { Asked } from './parts/asked.js'
import { commands, readConfigText, schemaOf, withOption } from './parts/config-text.js'
import { Refusal } from './parts/guard.js'
import type { Job } from './parts/jobs.js'
import { address } from './parts/places.js'

/** What the scripts of the pages ask for: commands are started and stopped, configs read and written, texts said. One entry each. */

const id = z.string().min(1).max(4096)
const text = z.string().max(1 << 20)
const command = z.enum(commands)

type Action = (asked: Asked, body: unknown) => Promise<unknown>

const action =
  <Body>(schema: z.ZodType<Body>, run: (asked: Asked, body: Body) => Promise<unknown>): Action =>
  (asked, body) => {
    const parsed = schema.safeParse(body)
    if (parsed.success) return run(asked, parsed.data)
    throw new Refusal(400, 'invalid-request', valueProblem(parsed.error.issues, body).message)
  }

const actions: Readonly<Record<string, Action>> = {
  /** The options of a command, the config that a text is, and what the text is when an option has another value. */
  config: action(
    z.object({ command, yaml: text, option: z.string().max(500).optional(), value: text.optional() }),
    async (_, { command, yaml, option, value }) => {
      const written = option === undefined ? yaml : withOption(command, yaml, option, value ?? '')
      const config = readConfigText(written)
      return { yaml: written, config, schema: schemaOf(command, config) }
    },
  ),
  start: action(z.object({ command, yaml: text, dryRun: z.boolean() }), async ({ jobs }, { command, yaml, dryRun }) => {
    readConfigText(yaml)
    const folder = await mkdtemp(join(tmpdir(), 'gradprompt-ui-'))
    const path = join(folder, 'config.yaml')
    await writeFile(path, yaml)
    const args = [command, ...(command === 'sweep' ? [path] : ['--config', path]), ...(dryRun ? ['--dry-run'] : [])]
    try {
      return shown(jobs.start(args, () => void rm(folder, { recursive: true, force: true })))
    } catch (error) {
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }),
  resume: action(z.object({ id }), async ({ places, jobs }, { id }) => {
    await places.place(id)
    return shown(jobs.start(['resume', `./${id}`]))
  }),
  sweep: action(z.object({ id }), async ({ places, jobs }, { id }) => {
    await places.place(id)
    return shown(jobs.start(['sweep', `./${id}`]))
  }),
  /** Of a run, whoever has started it on this machine: its process is asked, and writes a checkpoint. */
  stop: action(z.object({ id }), async ({ places }, { id }) => {
    const { folder } = await places.place(id)
    const writer = await (await openRun(folder)).writer()
    if (writer === undefined || writer === process.pid)
      throw new Refusal(409, 'not-running', 'no process on this machine works on it')
    process.kill(writer, 'SIGTERM')
    return { html: html`<p>asked to stop …</p>`.text }
  }),
  'stop-job': action(z.object({ job: z.string().max(20) }), async ({ jobs }, { job }) => {
    jobs.stop(job)
    return shown(jobs.get(job))
  }),
  export: action(z.object({ id, to: z.string().regex(/^[\w-]{1,40}$/) }), async ({ places, jobs }, { id, to }) => {
    await places.place(id)
    const out = await freeFolder(join(places.root, 'exports'), `${basename(id)}-${to}`)
    return shown(jobs.start(['export', `./${id}`, '--to', to, '--out', out]))
  }),
  evaluate: action(z.object({ id, data: z.string().min(1).max(4096) }), async ({ places, jobs }, { id, data }) => {
    await places.place(id)
    return shown(jobs.start(['evaluate', `./${id}`, `--data=${data}`]))
  }),
  inspect: action(z.object({ path: z.string().min(1).max(4096) }), async ({ jobs }, { path }) => {
    // A name that begins with a dash is no option.
    return shown(jobs.start(['inspect', path.startsWith('-') ? `./${path}` : path]))
  }),
  job: action(z.object({ job: z.string().max(20) }), async ({ jobs }, { job }) => {
    const found = jobs.get(job)
    const folder = found.events.find(({ event, files }) => event === 'result' && Array.isArray(files))?.folder
    const readme =
      typeof folder === 'string' ? await readFile(join(folder, 'README.md'), 'utf8').catch(() => undefined) : undefined
    return shown(found, readme)
  }),
  /** The text that a run has learned behind, to be filled in. */
  template: action(z.object({ id }), async ({ places }, { id }) => {
    const { template } = (await openRun((await places.place(id)).folder)).config as { readonly template?: unknown }
    const messages = Array.isArray(template) ? (template as readonly { readonly content?: unknown }[]) : undefined
    const text = messages === undefined ? template : messages.at(-1)?.content
    return { text: typeof text === 'string' ? text.slice(0, 10_000) : '', chat: messages !== undefined }
  }),
  speak: action(
    z.object({
      run: id,
      text: text.min(1),
      chat: z.boolean(),
      maxNewTokens: z.int().min(1).max(1024),
      temperature: z.number().min(0).max(2),
    }),
    async ({ places, speaker, response }, { run, ...question }) => {
      await places.place(run)
      const gone = new AbortController()
      response.on('close', () => gone.abort())
      return { html: answersMarkup(await speaker.ask(run, question, gone.signal)).text }
    },
  ),
}

function shown(job: Job, readme?: string) {
  const { id, state, folder } = job
  const href = folder === undefined ? undefined : address(folder.replace(/^\.\//, '').replaceAll('\\', '/'))
  return { job: id, state, href, html: jobMarkup(job, readme).text }
}

const bodyLimit = 4 << 20
const uploadLimit = 1 << 30

/** @throws Refusal, GradpromptError */
export async function act(asked: Asked): Promise<void> {
  const { request, response, url } = asked
  if (url.pathname === '/upload') return upload(asked)
  const name = url.pathname.replace(/^\/do\//, '')
  const found = Object.hasOwn(actions, name) ? actions[name] : undefined
  if (found === undefined) throw new Refusal(404, 'not-found', 'there is nothing at this address')
  // A page of another site can send other types without asking first.
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? ''))
    throw new Refusal(415, 'unsupported-media-type', 'the body must be JSON')
  const bytes = await bodyOf(asked, bodyLimit)
  let body: unknown
  try {
    body = JSON.parse(bytes.toString('utf8'))
  } catch {
    throw new Refusal(400, 'invalid-request', 'the body is not JSON')
  }
  const answer = JSON.stringify(await found(asked, body))
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(answer)
}

/** Puts a file into `data/`, under a name that is free. */
async function upload(asked: Asked): Promise<void> {
  const { places, url, request, response } = asked
  if (request.headers['content-type'] !== 'application/octet-stream')
    throw new Refusal(415, 'unsupported-media-type', 'a file is sent as application/octet-stream')
  const given = url.searchParams.get('name') ?? ''
  const name = (given.split(/[\\/]/).at(-1) ?? '')
    .replace(/[^\p{L}\p{M}\p{N}_. -]+/gu, '-')
    .replace(/^[. -]+/, '')
    .slice(-120)
  if (!isDataName(name))
    throw new GradpromptError('unknown-format', 'this is no file of rows', {
      found: given.slice(0, 200),
      expected: 'a .tsv, .csv, .jsonl, .json or .parquet file',
    })
  const bytes = await bodyOf(asked, uploadLimit)
  await mkdir(join(places.root, 'data'), { recursive: true })
  const dot = name.indexOf('.')
  for (let attempt = 1; ; attempt++) {
    const free = attempt === 1 ? name : `${name.slice(0, dot)}-${attempt}${name.slice(dot)}`
    try {
      await createFile(join(places.root, 'data', free), bytes)
      response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify({ path: `data/${free}` }))
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

async function bodyOf({ request }: Asked, limit: number): Promise<Buffer> {
  const tooLarge = () => new Refusal(413, 'too-large', `at most ${limit} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge()
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > limit) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
