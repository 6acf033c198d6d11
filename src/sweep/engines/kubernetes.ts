import { basename } from 'node:path'
import { stringify } from 'yaml'
import { GradpromptError, unknownName } from '../../errors.js'
import type { Engine } from './engine.js'

/**
 * An Indexed Job of Kubernetes: a pod for each worker, all with one volume. A pod that is told to end leaves its trial with a checkpoint; one that
 * fails is started again.
 */

const known = ['image', 'claim', 'mount', 'namespace', 'cpu', 'memory', 'gpu'] as const
type Setting = (typeof known)[number]

export const kubernetes: Engine = {
  name: 'kubernetes',
  description: 'an Indexed Job, handed in by kubectl; --set image=… --set claim=… (a volume that holds the working directory)',
  file: 'kubernetes.yaml',
  // A container has its own.
  installedThere: true,
  text({ folder, directory, command, workers, settings }) {
    for (const name of Object.keys(settings))
      if (!known.includes(name as Setting)) throw unknownName('invalid-option', `there is no setting ${name}`, name, known)
    const { image, claim, mount = directory, namespace, cpu, memory, gpu } = settings as Partial<Record<Setting, string>>
    for (const [name, value] of Object.entries({ image, claim }))
      if (value === undefined)
        throw new GradpromptError('missing-option', `a Job needs ${name}`, {
          found: 'nothing',
          expected:
            name === 'image' ? '--set image=NAME, which has Node and gradprompt' : '--set claim=NAME, a claim of a volume',
        })
    for (const path of [folder, directory])
      if (path !== mount && !path.startsWith(`${mount.replace(/\/$/, '')}/`))
        throw new GradpromptError('invalid-option', 'the volume does not hold all that a worker needs', {
          found: `${path} outside ${mount}`,
          expected: `--set mount=FOLDER, in which the sweep and the working directory are`,
        })
    const limits = {
      ...(cpu !== undefined && { cpu }),
      ...(memory !== undefined && { memory }),
      ...(gpu !== undefined && { 'nvidia.com/gpu': gpu }),
    }
    const job = `gradprompt-${basename(folder)}`
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      .slice(0, 52)
      .replace(/-+$/, '')
    return stringify({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: job, ...(namespace !== undefined && { namespace }) },
      spec: {
        completionMode: 'Indexed',
        completions: workers,
        parallelism: workers,
        // A worker that ends finds no trial left; what it is started again for is a pod that was lost.
        backoffLimit: 6 * workers,
        template: {
          spec: {
            restartPolicy: 'OnFailure',
            terminationGracePeriodSeconds: 120,
            containers: [
              {
                name: 'worker',
                image: image!,
                command: [...command],
                workingDir: directory,
                ...(Object.keys(limits).length > 0 && { resources: { limits } }),
                volumeMounts: [{ name: 'work', mountPath: mount }],
              },
            ],
            volumes: [{ name: 'work', persistentVolumeClaim: { claimName: claim! } }],
          },
        },
      },
    })
  },
  submit: path => ['kubectl', 'create', '-f', path],
}
