import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commands } from '../../src/cli/commands.js'
import { isWhole } from '../support/whole.js'
import { temporaryFolder, toyModel } from '../train/toy.js'
import { command } from './command.js'

/**
 * Every command of docs/recipes.md and of the examples' READMEs, run as it stands there, one after the other, over the examples' own files: a tiny
 * random model stands where the bundled one does, and a few options make the work small.
 */

const { folder, remove } = temporaryFolder()
afterAll(remove)

beforeAll(() => {
  // A copy: `prefer` keeps its journal beside the prompts; and of long files the beginning is enough.
  cpSync('examples', join(folder, 'examples'), { recursive: true })
  for (const name of ['sst2/train.tsv', 'sst2/dev.tsv', 'sst2/test.tsv', 'agnews/test.tsv']) {
    const path = join(folder, 'examples', name)
    writeFileSync(path, `${readFileSync(path, 'utf8').split('\n').slice(0, 101).join('\n')}\n`)
  }
  // What an own method imports, as where the package is installed.
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(process.cwd(), join(folder, 'node_modules', 'gradprompt'))
  const model = join(folder, 'models', 'smollm2-135m-instruct')
  mkdirSync(join(folder, 'models'))
  cpSync(toyModel, model, { recursive: true })
  rmSync(join(model, 'expected.safetensors'))
  const change = (name: string, changes: object) => {
    const path = join(model, name)
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changes }))
  }
  // Its tokens are single letters, so that texts come to thousands of them.
  change('config.json', { max_position_embeddings: 8192 })
  change('tokenizer_config.json', { chat_template: '{% for message in messages %}{{ message.content }}{% endfor %}' })
  writeFileSync(join(folder, 'mail.csv'), 'message\n"until when are you open, today?"\nmy card is lost\n')
})

const names = commands.map(({ name }) => name)
const isCommand = (text: string) => names.includes(text.split(' ')[0]!)

const ofTable = [...readFileSync('docs/recipes.md', 'utf8').matchAll(/`([^`]+)`/g)].map(([, text]) => text!).filter(isCommand)
const ofReadmes = readdirSync('examples').flatMap(name =>
  [...readFileSync(join('examples', name, 'README.md'), 'utf8').matchAll(/^ {4}npx gradprompt (.*?)(?: {2,}# .*)?$/gm)].map(
    ([, text]) => text!,
  ),
)
// The table learns in every way; what the examples' READMEs learn besides takes as long again.
const isShort = (text: string) =>
  !/^(tune|sweep)/.test(text) && [...text.matchAll(/runs\/[\w-]+/g)].every(([run]) => ofTable.join(' ').includes(run))
// Programs of answers need Python.
const hasPython = spawnSync('python3', ['--version']).status === 0
if (!hasPython) console.log('no python3: commands that run code are left out')
const runs = (text: string) => hasPython || !text.includes('--allow-running-code')
const written = [...new Set([...ofTable, ...ofReadmes.filter(text => isWhole || isShort(text))])].filter(runs)

/** What makes the work of a command small, by how it begins. */
const small: readonly (readonly [RegExp, string])[] = [
  [/^tune/, '--steps 2 --threads 1'],
  // Of few messages none may be left out: each class is to be learned.
  [/^tune .*(sst2|agnews|instruction|own-method|preferences)/, '--data.limit 16 --evaluate.limit 8'],
  [/^compress/, '--steps 2 --conversations 2 --max-new-tokens 8'],
  [/^reject/, '--steps 2 --labels 8 --texts 1 --max-new-tokens 4 --groups 2'],
  [/^hints/, '--steps 2 --data.limit 4'],
  // A private search takes all rows of its files.
  [/^search .*private/, '--steps 1 --search.members 8 --search.max-written-tokens 2 --search.epsilon 100000 --search.delta 0.1'],
  // This one makes its rows.
  [/^search .*calibration/, '--steps 1 --search.cases 3 --search.max-case-tokens 8'],
  [
    /^search (?!.*(private|calibration))/,
    '--steps 1 --questions 2 --data.limit 8 --data.split.dev 2 --search.max-new-tokens 4 --search.preflight warn',
  ],
  [/^sweep .*(?<!--dry-run)$/, '--trials 2 --train.steps 2'],
  [/^sweep .*own-method/, '--sweep.seeds 1'],
  [/^sweep .*--on/, '--dry-run'],
  [/^evaluate .*--generate/, '--limit 3'],
  [/^evaluate .*--allow-running-code/, '--limit 2'],
]
/** Below its threshold an evaluation ends with 1, which what has learned for two steps is; so does a search that waits for labels. */
const codeOf = (text: string) => (/--threshold|calibration/.test(text) ? 1 : 0)

/** They show a page until they are stopped. */
const pages = ['prefer', 'ui']

const wordsOf = (text: string) => [...text.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word)

test('there are recipes of every kind of run, and none leaves anything out', () => {
  for (const name of [
    'tune',
    'search',
    'sweep',
    'compress',
    'hints',
    'predict',
    'evaluate',
    'export',
    'generate',
    'reject',
    'prefer',
    'ui',
  ])
    expect(written.map(text => text.split(' ')[0])).toContain(name)
  expect(written.filter(text => text.includes('…'))).toEqual([])
})

test.each(written)('%s', async text => {
  const given = [...wordsOf(text), ...small.flatMap(([which, words]) => (which.test(text) ? words.split(' ') : []))]
  const isPage = pages.includes(given[0]!)
  // Nothing is overwritten.
  const [, output] = /--output (\S+)/.exec(text) ?? []
  if (output !== undefined) rmSync(join(folder, output), { force: true })
  const { code, stderr, lines } = await command([...given, ...(isPage ? ['--port', '0'] : []), '--json'], {
    cwd: folder,
    onLine: ({ event }, child) => {
      if (event === 'listening') child.kill('SIGINT')
    },
  })
  expect(code, stderr).toBe(isPage ? 130 : codeOf(text))
  if (isPage) expect(lines.map(({ event }) => event)).toContain('listening')
})

test('what the table says of runs and files is there', () => {
  const named = [...ofTable.join(' ').matchAll(/ (runs\/[\w-]+)|--out(?:put)? (\S+)/g)].map(([, run, path]) => run ?? path!)
  expect(named.length).toBeGreaterThan(3)
  for (const path of named) expect(existsSync(join(folder, path)), path).toBe(true)
  expect(existsSync(join(folder, 'intents', 'README.md'))).toBe(true)
  expect(readFileSync(join(folder, 'sorted.csv'), 'utf8').split('\n').length).toBeGreaterThan(2)
})
