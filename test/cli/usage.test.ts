import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { cliReference } from '../../scripts/docs.js'
import { commands } from '../../src/cli/commands.js'
import { configOptions } from '../../src/cli/show/config-help.js'
import { searchConfigJsonSchema } from '../../src/search/config.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'
import { command, program } from './command.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

function configFile(name: string, config: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, stringify(config))
  return path
}

test('help names every command and ends with an example', async () => {
  const { code, stdout, stderr } = await command(['--help'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  for (const { name, summary } of commands) expect(stdout).toMatch(new RegExp(`^  ${name}.*${summary.slice(0, 20)}`, 'm'))
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('  $ npx gradprompt init my-task')
})

test('the help of tune lists the options of the config', async () => {
  const { stdout } = await command(['tune', '--help'])
  expect(stdout).toMatch(/--train\.early-stopping\.patience +dev evaluations/)
  expect(stdout).toMatch(/--train\.schedule .*linear, cosine, constant \(default "linear"\)/)
})

test('help loads nothing but the tables and the parser', async () => {
  const { code, stderr } = await command(['--help'], { env: { NODE_DEBUG: 'esm' } })
  expect(code).toBe(0)
  const loaded = new Set(
    [...stderr.matchAll(/Storing (file:\/\/\S+)/g)].map(match => match[1]!.replace(/^.*\/(dist|node_modules)\//, '')),
  )
  expect(loaded.size).toBeGreaterThan(3)
  for (const module of loaded)
    expect(module).toMatch(/^(src\/(cli|errors|error-message|own-command|package-root|program\/devices)|commander\/)/)
})

test('no command at all: help, and exit 2', async () => {
  const { code, stdout, stderr } = await command([])
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain('Usage: gradprompt')
})

test('--version is that of the package', async () => {
  const { stdout } = await command(['--version'])
  expect(stdout.trim()).toBe(JSON.parse(await readFile('package.json', 'utf8')).version)
})

test.each([
  [['tun'], 'unknown-command', 'did you mean npx gradprompt tune?'],
  [['tune', '--train.learnin-rate', '1'], 'unknown-option', 'did you mean --train.learning-rate?'],
  [['resume', 'no-such-run'], 'not-a-run', 'no such folder'],
  [['evaluate', 'no-such-run'], 'not-a-run', '--model'],
  [['evaluate', '--model', 'x', '--data', 'y', '--device', 'gpu'], 'invalid-option', 'one of auto, cpu, webgpu'],
  [['evaluate', '--threshold', '90'], 'invalid-option', 'a share from 0 to 1'],
  [['evaluate', '--labels', 'negative'], 'invalid-option', 'value=word'],
  [['export', 'no-such-run', '--to', 'peft'], 'missing-option', '--out'],
  [['inspect', 'no-such-model'], 'file-not-found', 'a folder with config.json'],
  [['init', '--task', 'clasification'], 'unknown-task', 'did you mean classification?'],
  [['tune', '--config', 'no-such.yaml'], 'file-not-found', 'a YAML or JSON file'],
])('%j is refused', async (args, errorCode, text) => {
  const { code, stdout, stderr } = await command(args)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(`error[${errorCode}]`)
  expect(stderr).toContain(text)
  expect(stderr).not.toMatch(/^ +at /m)
})

test('a missing data file, also with --dry-run and for the computing process', async () => {
  const config = configFile('missing.yaml', { ...toyConfig(folder), data: { train: 'nowhere.tsv' } })
  for (const extra of [['--dry-run'], []]) {
    const { code, stderr } = await command(['tune', '--config', config, ...extra])
    expect(code).toBe(2)
    expect(stderr).toContain('error[file-not-found]: cannot read the data file nowhere.tsv')
  }
})

test('the printed config gives the same config again, with flags over the file', async () => {
  const path = configFile('print.yaml', toyConfig(folder))
  const flags = [
    '--learning-rate',
    '0.3',
    '--train.optimizer',
    'adafactor',
    '--train.bucket',
    '--data.labels.0=a, b',
    '--epochs',
    '2',
  ]
  const first = await command(['tune', '--config', path, ...flags, '--print-config'])
  expect({ code: first.code, stderr: first.stderr }).toEqual({ code: 0, stderr: '' })
  const config = parse(first.stdout)
  expect(config.train).toMatchObject({ learningRate: 0.3, optimizer: 'adafactor', bucket: true, epochs: 2, batchSize: 8 })
  expect(config.train).not.toHaveProperty('steps')
  expect(config.data.labels).toEqual({ 0: 'a, b', 1: 'of' })
  const second = await command(['tune', '--config', configFile('again.yaml', config), '--print-config'])
  expect(parse(second.stdout)).toEqual(config)
  const json = await command(['tune', '--config', path, ...flags, '--print-config', '--json'])
  expect(json.lines).toEqual([config])
})

test('a dry run shows rows with their segments and writes nothing', async () => {
  const out = join(folder, 'dry')
  const path = configFile('dry.yaml', toyConfig(folder, { out }))
  const { code, stdout } = await command(['tune', '--config', path, '--dry-run'])
  expect(code).toBe(0)
  expect(stdout).toContain('128 numbers in 4 virtual tokens')
  expect(stdout).toContain('32 train, 12 dev, 4 test')
  expect(stdout).toMatch(/toy\.tsv:\d+: 4 virtual \+ \d+ tokens/)
  expect(stdout).toMatch(/label +" (the|of)"/)
  const { lines } = await command(['tune', '--config', path, '--dry-run', '--json'])
  const [summary] = lines
  expect(summary).toMatchObject({ event: 'dry-run', parameters: 128, steps: 30, rows: { train: 32, truncated: 0 } })
  const [example] = summary!.examples as { tokens: number; segments: { role: string; ids: number[]; pieces: string[] }[] }[]
  expect(example!.segments.map(({ role }) => role)).toEqual(['context', 'label'])
  expect(example!.segments.flatMap(({ ids }) => ids)).toHaveLength(example!.tokens)
  expect(example!.segments[0]!.pieces).toHaveLength(example!.segments[0]!.ids.length)
  await expect(readFile(join(out, 'config.yaml'))).rejects.toThrow('ENOENT')
})

test('a file cannot control the terminal through a message', async () => {
  const path = join(folder, 'hostile.tsv')
  writeFileSync(path, 'text\tlabel\nthe \u001b[2Jwine\t\u001b]0;title\u0007x\u202e\nthe stone\t1\n')
  const config = configFile('hostile.yaml', {
    ...toyConfig(folder),
    data: { train: path, labels: { 0: 'the', 1: 'of' } },
  })
  const { code, stderr } = await command(['tune', '--config', config, '--dry-run'])
  expect(code).toBe(2)
  expect(stderr).toContain('error[unknown-label]')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  expect(stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/)
})

test('init writes what tune takes, and overwrites nothing', async () => {
  const cwd = join(folder, 'init')
  mkdirSync(cwd)
  const { code, stdout } = await command(['init', 'task'], { cwd })
  expect(code).toBe(0)
  expect(stdout).toContain('next: npx gradprompt tune --config task/gradprompt.yaml')
  const dry = await command(['tune', '--config', 'task/gradprompt.yaml', '--dry-run', '--json'], { cwd })
  expect(dry.code).toBe(0)
  expect(dry.lines[0]).toMatchObject({ rows: { train: 32, dev: 32 }, labels: ['negative', 'positive'] })
  const again = await command(['init', 'task'], { cwd })
  expect(again.code).toBe(2)
  expect(again.stderr).toContain('error[file-exists]')
})

test('init in a folder whose name has spaces prints a command that can be pasted', async () => {
  const cwd = join(folder, 'init-spaces')
  mkdirSync(cwd)
  const { stdout } = await command(['init', "my task's"], { cwd })
  const [, printed] = /next: npx gradprompt (.*)/.exec(stdout)!
  const dry = spawnSync(`"$NODE" "$PROGRAM" ${printed} --dry-run --json`, {
    ...{ cwd, shell: true, encoding: 'utf8' },
    env: { ...process.env, NODE: process.execPath, PROGRAM: program },
  })
  expect(dry.status).toBe(0)
  expect(JSON.parse(dry.stdout)).toMatchObject({ event: 'dry-run', rows: { train: 32 } })
})

test('an error names the flag, or the file and the line, that says what is wrong', async () => {
  const path = configFile('wrong.yaml', { ...toyConfig(folder), seed: -1 })
  const line =
    readFileSync(path, 'utf8')
      .split('\n')
      .findIndex(text => text.startsWith('seed')) + 1
  const file = await command(['tune', '--config', path, '--dry-run'])
  expect(file.stderr).toContain(`error[invalid-config]: ${path}:${line}: seed is not valid`)
  const short = await command(['tune', '--config', path, '--seed', '1', '--batch-size', '0', '--dry-run'])
  expect(short.stderr).toContain('error[invalid-config]: command line: --batch-size is not valid')
  const dotted = await command(['tune', '--config', path, '--seed', '1', '--train.learning-rate', '-1', '--dry-run'])
  expect(dotted.stderr).toContain('command line: --train.learning-rate is not valid')
  const twice = await command(['tune', '--config', path, '--seed', '1', '--steps', '3', '--train.steps', '4', '--dry-run'])
  expect(twice).toMatchObject({ code: 2, stderr: expect.stringContaining('--steps and --train.steps are one option') })
  const unknown = configFile('unknown.yaml', { ...toyConfig(folder), sead: 1 })
  const named = await command(['tune', '--config', unknown, '--dry-run'])
  expect(named.stderr).toMatch(/unknown\.yaml:\d+: there is no option sead/)
})

test('options of a method that is not named are those of the default one', async () => {
  const { method: _, ...config } = toyConfig(folder)
  const path = configFile('no-method.yaml', config)
  const { code, lines } = await command(['tune', '--config', path, '--method.num-virtual-tokens', '3', '--dry-run', '--json'])
  expect(code).toBe(0)
  expect(lines[0]).toMatchObject({ method: 'prompt-tuning', numVirtualTokens: 3 })
})

test('with --json an error is an event, too', async () => {
  const missing = await command(['tune', '--config', 'no-such.yaml', '--json'])
  expect(missing.code).toBe(2)
  expect(missing.lines).toEqual([
    expect.objectContaining({ event: 'error', code: 'file-not-found', exitCode: 2, expected: 'a YAML or JSON file' }),
  ])
  expect(missing.stderr).toContain('error[file-not-found]')
  const usage = await command(['resume', '--json', '--step', '3'])
  expect(usage.lines.at(-1)).toMatchObject({ event: 'error', code: 'unknown-option', hint: 'did you mean --steps?' })
})

test('a model of the cache of the Hub is called by its id', async () => {
  const hub = join(folder, 'hub')
  const model = join(hub, 'models--some-one--tiny-model')
  const snapshot = 'a'.repeat(40)
  cpSync('test/fixtures/models/llama-gqa', join(model, 'snapshots', snapshot), { recursive: true })
  mkdirSync(join(model, 'refs'))
  writeFileSync(join(model, 'refs', 'main'), snapshot)
  const { lines } = await command(['inspect', 'some-one/tiny-model', '--json'], { env: { HF_HUB_CACHE: hub } })
  expect(lines[0]).toMatchObject({ kind: 'model', name: 'some-one/tiny-model' })
})

test('runs lists the runs of a folder, and none where there are none', async () => {
  const none = await command(['runs'], { cwd: folder })
  expect(none).toMatchObject({ code: 0, stdout: 'no runs in runs\n' })
  const missing = await command(['runs', join(folder, 'nowhere')])
  expect(missing.code).toBe(2)
  expect(await command(['runs', '--html'], { cwd: folder })).toMatchObject({ code: 0, stdout: 'no runs in runs\n' })
  mkdirSync(join(folder, 'broken', 'run'), { recursive: true })
  writeFileSync(join(folder, 'broken', 'run', 'config.yaml'), 'x: 1\n')
  const broken = await command(['runs', join(folder, 'broken'), '--html', '--json'])
  expect(broken.lines.map(({ event }) => event)).toEqual(['warning', 'result'])
  expect(readFileSync(join(folder, 'broken', 'runs.html'), 'utf8')).toContain('What cannot be read')
})

test('init writes what search takes', async () => {
  const cwd = join(folder, 'init-search')
  mkdirSync(cwd)
  const { code, stdout } = await command(['init', '--task', 'search'], { cwd })
  expect(code).toBe(0)
  expect(stdout).toContain('next: npx gradprompt search --config gradprompt.yaml')
  const dry = await command(['search', '--config', 'gradprompt.yaml', '--dry-run', '--json'], { cwd })
  expect(dry.code).toBe(0)
  const segments = ['before', 'prompt', 'after', 'extractor', 'answer'].map(role => expect.objectContaining({ role }))
  expect(dry.lines[0]).toMatchObject({
    search: 'greater',
    freeTokens: 16,
    rows: { questions: 24, dev: 32 },
    labels: ['negative', 'positive'],
    maxNewTokens: 32,
    examples: [{ segments }, { segments }, { segments }],
  })
})

test('methods lists options, exports and parameters', async () => {
  const { lines } = await command(['methods', '--model', resolve('test/fixtures/models/llama-gqa'), '--json'])
  expect(lines[0]).toMatchObject({
    type: 'prompt-tuning',
    exports: expect.arrayContaining(['peft', 'hf', 'gguf', 'gradprompt']),
    parameters: 640,
  })
  const { code, stdout } = await command(['methods'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/method\.init\.type +one of text, vocabulary, labels, random/)
  expect(stdout).toMatch(/search\.shortlist +how the shortlist is drawn/)
  expect(lines.find(line => line.event === 'search')).toMatchObject({ type: 'greater', steps: 20 })
})

test('inspect describes a model without its weights', async () => {
  const { code, lines } = await command(['inspect', 'models/smollm2-135m-instruct', '--json'])
  expect(code).toBe(0)
  expect(lines[0]).toMatchObject({
    kind: 'model',
    family: 'llama',
    parameters: 134515008,
    parts: { embedding: 28311552, head: 0, attention: 26542080, mlp: 79626240, norms: 35136 },
    tokenizer: {
      chatTemplate: true,
      special: { bos: { id: 1, text: '<|im_start|>' }, ends: [{ id: 2 }, { id: 0 }] },
      chatExample: expect.stringMatching(
        /^<\|im_start\|>system\nYou are helpful\.<\|im_end\|>\n<\|im_start\|>user\nHello!<\|im_end\|>\n<\|im_start\|>assistant\n$/,
      ),
    },
    exports: { 'prompt-tuning': expect.arrayContaining(['peft']) },
  })
  const { stdout } = await command(['inspect', 'models/smollm2-135m-instruct'])
  expect(stdout).toMatch(/parameters +attention 26,542,080 \(20 %\), MLP 79,626,240 \(59 %\).*the head is the embeddings/)
  expect(stdout).toMatch(/methods +prompt-tuning \(to [^)]*peft/)
})

test('models lists what is at hand, and why something cannot be read', async () => {
  const home = join(folder, 'hub-home')
  const snapshot = join(home, 'hub', 'models--some--encoder', 'snapshots', 'a'.repeat(40))
  mkdirSync(snapshot, { recursive: true })
  for (const file of ['model.safetensors', 'tokenizer.json'])
    copyFileSync(join('test/fixtures/models/llama-gqa', file), join(snapshot, file))
  writeFileSync(join(snapshot, 'config.json'), '{"model_type":"bert"}')
  const env = { HF_HOME: home, HF_HUB_CACHE: '' }
  const { code, lines } = await command(['models', '--json'], { env })
  expect(code).toBe(0)
  expect(lines).toMatchObject([
    { event: 'model', name: 'models/smollm2-135m-instruct', from: 'bundled', model: { family: 'llama' } },
    {
      event: 'model',
      name: `some/encoder@${'a'.repeat(40)}`,
      from: 'hub',
      problem: { code: 'unknown-architecture', found: 'bert' },
    },
  ])
  const { stdout, stderr } = await command(['models'], { env })
  expect(stdout).toMatch(/^models\/smollm2-135m-instruct +llama +135 M +98\.4 MB/m)
  expect(stdout).toMatch(/some\/encoder@a+ +no .*the architecture is not known: bert$/m)
  expect(stderr).toContain(join(home, 'hub'))
})

test('every option of a config has a flag, dotted or not', () => {
  for (const [name, root] of [
    ['tune', undefined],
    ['search', searchConfigJsonSchema()],
  ] as const) {
    const flags = new Set(commands.find(command => command.name === name)!.options.map(({ config }) => config))
    const without = configOptions(root).filter(({ path }) => !path.includes('.') && !flags.has(path))
    expect(without.map(({ path }) => path)).toEqual([])
  }
})

test('docs/cli.md is what the tables say', async () => {
  expect(await readFile('docs/cli.md', 'utf8')).toBe(cliReference())
})
