import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { commands } from '../src/cli/commands.js'
import { configOptions, describeOption } from '../src/cli/show/config-help.js'
import { packageRoot } from '../src/package-root.js'

/** Writes docs/cli.md from the tables that the command line itself is made of. */
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  await writeFile(join(packageRoot(), 'docs', 'cli.md'), cliReference())

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
      `\`\`\`\n${example}\n\`\`\``,
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

${sections.join('\n\n')}

## Config

A YAML or JSON file, given with \`--config\`. Paths are relative to the working directory.

${config}
`
}
