import { basename } from 'node:path'
import { GradpromptError, shellWord } from '../../errors.js'
import { type Engine, shellLine } from './engine.js'

/**
 * Jobs of a Ray cluster, one for each worker. The same script hands them in and is what each of them runs: Ray passes on an entry point as words
 * whose quoting it makes itself, so there is nothing in them to quote.
 */

/** What the script says itself, or what would make it wait or upload. */
const own = new Set(['submission-id', 'job-id', 'no-wait', 'working-dir'])

export const ray: Engine = {
  name: 'ray',
  description: 'jobs of a Ray cluster, handed in by ray job submit; --set address=http://HEAD:8265 --set entrypoint-num-gpus=1',
  file: 'ray.sh',
  text({ folder, directory, command, workers, settings }) {
    for (const name of Object.keys(settings))
      if (!/^[a-z][a-z-]*$/.test(name) || own.has(name))
        throw new GradpromptError('invalid-option', `--set ${name} is no option of ray job submit that is free`, {
          found: name,
          expected: `a long one, such as address, entrypoint-num-cpus, entrypoint-num-gpus; ${[...own].join(', ')} are set already`,
        })
    const [odd] = /["'\\$`]/.exec(folder) ?? []
    if (odd !== undefined)
      throw new GradpromptError('invalid-option', 'the folder of the sweep cannot stand in an entry point of Ray', {
        found: `${odd} in ${folder}`,
        expected: 'a path without quotes, dollars or backslashes',
      })
    const options = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, ...(value === '' ? [] : [value])])
    const name = `gradprompt-${basename(folder)}`.replace(/[^\w.-]+/g, '-').slice(0, 60)
    return `#!/bin/bash
# Hands in a job for each worker of the sweep; as a job it is a worker, which takes trials until none is left.
if [ "$1" = worker ]; then
  cd ${shellWord(directory)} || exit 2
  exec ${shellLine(command)}
fi
for worker in $(seq ${workers}); do
  id=${name}-$(date +%s)-$$-$worker
  said=$(ray job submit --no-wait --submission-id "$id" ${shellLine(options)} -- bash ${shellWord(`${folder}/ray.sh`)} worker 2>&1) || { echo "$said" >&2; exit 1; }
  echo "$id"
done
`
  },
  submit: path => ['bash', path],
}
