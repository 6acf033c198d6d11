/** `npm run bench -- NAME`: measures gradprompt beside its peer, both in turn on this machine, and prints one JSON object. */
import { GradpromptError } from '../../src/errors.js'

const benchmarks: Record<string, () => Promise<{ run(args: readonly string[]): Promise<object>; usage: string }>> = {
  generate: () => import('./generate.js'),
  gpu: () => import('./gpu.js'),
  methods: () => import('./methods.js'),
  preferences: () => import('./preferences.js'),
  search: () => import('./search.js'),
  serve: () => import('./serve.js'),
  sweep: () => import('./sweep.js'),
  tune: () => import('./tune.js'),
  ui: () => import('./ui.js'),
}

const [name, ...args] = process.argv.slice(2)
const load = name === undefined ? undefined : benchmarks[name]
if (!load) {
  console.error(`npm run bench -- NAME [options]; NAME is one of: ${Object.keys(benchmarks).join(', ')}`)
  process.exit(2)
}
const { run, usage } = await load()
if (args.includes('--help')) console.log(usage)
else {
  try {
    console.log(JSON.stringify(await run(args), null, 2))
  } catch (error) {
    if (!(error instanceof GradpromptError)) throw error
    console.error(error.format())
    process.exit(error.exitCode)
  }
}
