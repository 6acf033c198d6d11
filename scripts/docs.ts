import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { commands } from '../src/cli/commands.js'
import { configOptions, describeOption } from '../src/cli/show/config-help.js'
import { exportTargets } from '../src/export/index.js'
import { exportTable } from '../src/export/table.js'
import type { ExportTarget } from '../src/export/target.js'
import { asCalled } from '../src/own-command.js'
import { packageRoot } from '../src/package-root.js'
import { promptReaders } from '../src/sources/imports/index.js'

/** Writes docs/cli.md and docs/exports.md from the tables that the command line and the exporters themselves are made of. */
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await writeFile(join(packageRoot(), 'docs', 'cli.md'), cliReference())
  await writeFile(join(packageRoot(), 'docs', 'exports.md'), exportsPage())
}

export function exportsPage(): string {
  const targets = [...exportTargets].map(([name, { description }]) => `| \`${name}\` | ${description} |`)
  return `# Exports

${'`node dist/scripts/docs.js` writes this page from what the exporters declare.'}

\`\`\`sh
npx gradprompt export runs/sst2 --to hf --out runs/sst2/hf
\`\`\`

| target | what is written |
| --- | --- |
${targets.join('\n')}

Beside the files stand a README (how the tool loads them, the template, the labels, how an answer ends), \`self-test.json\` (a few inputs
with the greedy tokens and the largest logits that they must give) and, where the tool is one for Python or for llama.cpp, a script that
computes these there. A folder that exists is left alone; one that is made appears when all is written.

## Which method reaches which target

${exportTable()}

A cell names the form, which is exact (the same numbers as here, but for rounding) everywhere but under \`text\`. \`-\` is refused, with the reason and the targets that
can. A template's soft tokens go to ${namesOf(({ softTokens }) => softTokens)}; a prompt of several tasks to ${namesOf(({ severalTasks }) => severalTasks === true)}, one of \`mpt\` to
peft as well; \`--prompt-task NAME\` exports one task, which then is rows that any target takes.

## What to know

- **hf** copies the weights of a Hugging Face folder byte for byte; those of a GGUF file are dequantised (\`--dtype F32\`, \`F16\` or \`BF16\`). The
  embedding table is always float32, so that the prompt stays exact, and the head stands apart from it: it says of the prompt's tokens
  what no greedy decoding picks. \`--delta\` writes the changed rows alone, and \`merge.py\` puts them into the base model.
- **gguf** and **ollama** are made of the GGUF file that the prompt was tuned on, whose other tensors are copied byte for byte; or of a Hugging
  Face folder, whose weights are written anew (\`--dtype\` F16, as by default, F32, BF16, Q8_0, Q4_0 or Q4_1). Such a file is read again and held
  against the folder, its config and how it cuts texts, before it gets its name: what GGUF cannot say (tokenizers that are not BPE,
  windows of attention where llama.cpp computes none, LongRoPE) is refused. Of block types the self-test holds what the written weights compute.
  Of a tokenizer of SentencePiece's kind (Llama 1 and 2, Mistral, Gemma) the scores are those that its merges come to, and merges that no
  scores come to are refused. llama.cpp puts a space in front of a text and behind every special token, or nowhere; where the tokenizer does
  neither, what reads the prompt's own texts as they were learned is written, and a template that both read otherwise is refused.
  The embedding table takes the narrowest type, from its own upwards, that moves the likelihood of the self-test's texts by less than
  0.01 nats per token; the README says which, and by how much.
- **onnx** is one graph that knows the prompt: its keys and values are constants in it, and offsets by position are computed there, so that a
  caller feeds the text alone, and no length or mask counts the prompt. The weights are float32 (or as the cache keeps them), in a file beside it.
- **kv** holds the keys and values that the prompt's rows come to, as transformers' \`DynamicCache\` takes them, and as a PREFIX_TUNING adapter.
- **peft**'s own \`generate\` wants \`use_cache=False\` (the README beside an adapter has it): PEFT 0.21 looks for the cache as
  \`past_key_values\`, which transformers 5.24 calls \`cache\`, so that it puts the prompt in front of every new token. Its forward pass is exact.
- **embeds** is for servers that take embeddings: the client fetches the text's own from the base model.
- **text** of a soft prompt is the words nearest to its vectors. They are another prompt: the README says how much likelihood of the vectors'
  own answers is lost by them, beside what no prompt has. The template must be plain text.
- **gradprompt** is one file, \`prompt.safetensors\`, which every command takes where it takes a run.

## What is read from other tools

Wherever a run is taken, as a prompt to evaluate, inspect, generate under, serve or convert, and in \`method.init.from\` to start from:

| file | what is read |
| --- | --- |
| \`adapter\` | the folder of a PEFT adapter |
${[...promptReaders].map(({ name, description }) => `| \`${name}\` | ${description} |`).join('\n')}

\`\`\`sh
npx gradprompt evaluate --prompt prompt.npy --model M --data test.tsv --template '{text} =>' --answer ' {label}'
npx gradprompt export prompt.zip --model M --to gguf --out converted
npx gradprompt tune --config C --method.init.type runs --method.init.from '[prompt.safetensors]'
\`\`\`

Rows must be as wide as the model. They are taken as \`inputs_embeds\` has them, and stand before everything unless the file says otherwise. Words
without places for values are an instruction; with places (\`{{ text }}\`, \`{text}\`) they are the template. What of a file is not used is said.

\`npm run test:consumers\` exports small models and runs the self-tests in transformers, PEFT and ONNX Runtime GenAI, in a virtual environment of its own
(or with the Python that \`GRADPROMPT_PYTHON\` names), and in llama.cpp where \`GRADPROMPT_BENCH_LLAMA\` names a folder with node-llama-cpp.
\`-- --only peft\` runs the checks with that in their names, \`-- --model M\` those of another model. \`-- --bars\` prints figures in place of passing and
failing: every method in every target that holds it, over 32 texts and 32 greedy tokens, and with \`--run RUN\` what that run's answers come to.

\`npm run test:consumers -- --bars --model models/smollm2-135m-instruct\` has been run for these pairs and no others so far (\`--only 'prompt-tuning: onnx'\` and so on; seeded
numbers in place of a learned prompt; the weights are Q4_1, with which llama.cpp multiplies rounded activations, as below):

| method | target | texts with our 32 tokens | difference of a top-5 logit |
| --- | --- | --- | --- |
| \`prompt-tuning\` | \`onnx\`, in ONNX Runtime GenAI | 32 of 32 | 0.000029 at most |
| \`prompt-tuning\` | \`gguf\`, in llama.cpp | 9 of 32 | 0.083 in the mean, 0.32 at most |

A prompt that was tuned on 16 rows of each class of SST-2, in 20 steps, answers 149 of 200 dev rows rightly in ONNX Runtime GenAI and here (\`--run RUN --only 'answers: onnx'\`).

An export of the bundled model to \`gguf\` (a run on SST-2, three texts of the self-test) took 9.8 seconds of one processor's time, 1.9 of them to compile its program for the
first time, and 12.4 before; the model runs 7 times for the self-test's 24 tokens. Of the process's 0.9 GB, 0.54 GB are the model's weights, mapped from the cache. Tiny folders of
llama, qwen2, gpt2, gemma3, granite, falcon and gpt-neox, written as whole GGUF files in float32, give our greedy tokens in llama.cpp, and the largest logits within 0.011, which is
its cache in 16 bits: with \`node self-test.mjs --float32-cache\` nothing is off that four digits show.

Of block types more is off, and it is no error of the file: what is computed here of a written file is what NumPy computes of it, to 2e-5. llama.cpp rounds what it multiplies with
blocks to 8 bits as well. On a llama 32 wide that is all there is: its cache in float32, it is 0.0798 off in Q8_0 and 0.0459 in Q4_0, and so is NumPy with that rounding
(\`scripts/check/rounded_activations.py\`). The bundled model, as a folder and written again, three texts of SST-2, differences of the five likeliest tokens' log-probabilities
(\`node self-test.mjs\`; rounding alone, in NumPy, comes to 0.12 in Q8_0 at most):

| type | mean | largest | texts with our eight tokens |
| --- | --- | --- | --- |
| F16 | 0.003 | 0.008 | 3 of 3 |
| Q8_0 | 0.057 | 0.14 | 3 of 3 |
| Q4_0 | 0.073 | 0.16 | 2 of 3 |

So take F16 where the prompt has to stay what it is.
`
}

function namesOf(has: (target: ExportTarget) => boolean | undefined): string {
  const names = [...exportTargets].filter(([, target]) => has(target)).map(([name]) => `\`${name}\``)
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`
}

export function cliReference(): string {
  const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ')
  const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
    [head, head.map(() => '---'), ...rows].map(row => `| ${row.join(' | ')} |`).join('\n')
  const sections = commands.map(({ name, summary, description, argument, secondArgument, options, takesConfig, example }) => {
    const usage = [argument, secondArgument]
      .map(given => (given === undefined ? '' : given.required ? ` ${given.name}` : ` [${given.name}]`))
      .join('')
    const rows = options.map(option => [
      `\`--${option.name}${option.value === undefined ? '' : ` ${option.value}`}\``,
      cell(option.description) + (option.config === undefined ? '' : ` (\`${option.config}\`)`),
    ])
    return [
      `## gradprompt ${name}${usage}`,
      `${summary[0]!.toUpperCase()}${summary.slice(1)}. ${cell(description)}`,
      table(['option', ''], rows),
      ...(takesConfig ? ['Every option of the config can be given by its dotted name as well: see [Config](#config).'] : []),
      `\`\`\`\n${asCalled(example)}\n\`\`\``,
    ].join('\n\n')
  })
  const config = table(
    ['option', 'flag', ''],
    configOptions().map(option => [`\`${option.path}\``, `\`${option.flag}\``, cell(describeOption(option))]),
  )
  return `# The command line

${'`node dist/scripts/docs.js` writes this page from the tables in `src/cli/`.'}

Exit codes: 0 done, 1 failed, 2 a mistake in what was asked, 130 stopped by Ctrl-C. Results go to standard output, progress and warnings to
standard error. With \`--json\` standard output holds one JSON object a line, and all text goes to standard error.

Environment: \`GRADPROMPT_CACHE\` (folder of dequantised weights and compiled programs), \`GRADPROMPT_CACHE_LIMIT\` (its size in GB, 20 by
default), \`GRADPROMPT_DEBUG=1\` (stacks of errors, output of native libraries), \`NO_COLOR\`.

## Ending

Ctrl-C, SIGTERM, and a reader of standard output that leaves (\`| head -1\`) stop a run with a checkpoint and free it for \`gradprompt resume\`. After SIGTERM it has eight
seconds; what has come to no checkpoint by then goes back to the one before. A disk without room, a limit on the size of files, and a run's folder that is deleted under it end
the command with an error in words and exit code 1.

## The cache

Dequantised weights and compiled programs are kept in \`~/.cache/gradprompt\` (\`%LOCALAPPDATA%\\gradprompt\` on Windows), and can be deleted at any time. Every file in it carries
checksums of what it holds. Programs are read in full whenever they are opened; weights, which are large, once after each start of the machine, and when their size, time of
change or inode are others than then: half a second of work for the 538 MB of the bundled model. What is not as it was written is made anew, with the
warning \`cache-damaged\` that says which file it was, and of weights which 4 MiB. \`gradprompt doctor --verify\` reads everything. A cache on a disk that cannot be written serves as it
is; what it lacks is refused with \`cache-unwritable\`. Several processes may use one at the same time.

${sections.join('\n\n')}

## Config

A YAML or JSON file, given with \`--config\`. Paths are relative to the working directory.

${config}
`
}
