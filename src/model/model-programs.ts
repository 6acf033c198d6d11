import { tf } from '../../kernels/tf.js'
import { tokenCrossEntropy, tokenLogProbabilities } from '../../kernels/token-cross-entropy.js'
import { disposedError } from '../errors.js'
import type { Device } from '../program/devices.js'
import { Program, type ProgramSpec, type WeightFile } from '../program/program.js'
import { type ActivePrompt, placementOf } from './active-prompt.js'
import type { Checkpoint } from './checkpoint.js'
import { forestSpec } from './forest.js'
import { forwardForest, frozenLayers, targetsOf } from './forward.js'
import { hiddenDifference, teacherDivergence } from './teacher.js'

export type ProgramKind = 'gradient' | 'gradientFromFrozen' | 'logProbabilities' | 'logits' | 'logitsAndHidden'

export interface ProgramOptions {
  /** Rows branch: several texts go on from one (see `Forest`). */
  readonly children?: boolean
  readonly labelSmoothing?: number | undefined
  /** Of a teacher, where the gradient has one: it is then given as `teacher` [Q, V] and `teacherWeight` [Q]. */
  readonly temperature?: number | undefined
  /** The teacher's hidden states count as well: `teacherHidden` [Q, d] and `teacherHiddenWeight` [Q]. */
  readonly hiddenTerm?: boolean
}

/** What a program is of. */
export interface ProgramModel {
  readonly checkpoint: Checkpoint
  readonly weights: WeightFile
}

/** A model's programs over forests, compiled when they are first needed. */
export class ModelPrograms {
  private readonly programs = new Map<string, Promise<Program>>()
  private disposed = false

  constructor(
    private readonly model: ProgramModel,
    private readonly options: { readonly device: Device; readonly threads: number },
  ) {}

  /** @throws GradpromptError whatever compiling throws; a failed program is compiled anew the next time */
  open(kind: ProgramKind, prompt: ActivePrompt | undefined, options: ProgramOptions = {}): Promise<Program> {
    const { children = false, labelSmoothing = 0, temperature, hiddenTerm = false } = options
    const key = JSON.stringify([kind, prompt?.config, children, labelSmoothing, temperature, hiddenTerm])
    return this.known(key, () => programSpec(this.model, kind, prompt, options))
  }

  /** What the layers below all that is learned make of a text. */
  openFrozen(prompt: ActivePrompt): Promise<Program> {
    return this.known(JSON.stringify(['frozen', prompt.config]), () => frozenSpec(this.model, prompt))
  }

  async dispose(): Promise<void> {
    this.disposed = true
    const programs = await Promise.allSettled(this.programs.values())
    this.programs.clear()
    for (const program of programs) if (program.status === 'fulfilled') await program.value.dispose()
  }

  /** @throws GradpromptError `disposed` */
  refuseDisposed(): void {
    if (this.disposed) throw disposedError(`the model ${this.model.checkpoint.name}`)
  }

  private known(key: string, spec: () => ProgramSpec): Promise<Program> {
    this.refuseDisposed()
    const known = this.programs.get(key)
    if (known) return known
    const made = Program.compile(spec(), this.options)
    this.programs.set(key, made)
    made.catch(() => this.programs.delete(key))
    return made
  }
}

/** The specification of a program of a model: also what an eager run takes. */
export function programSpec(
  { checkpoint: { family, config }, weights }: ProgramModel,
  kind: ProgramKind,
  prompt: Pick<ActivePrompt, 'method' | 'config'> | undefined,
  { children = false, labelSmoothing = 0, temperature, hiddenTerm = false }: ProgramOptions = {},
): ProgramSpec {
  const { inputs, dims } = forestSpec({ placement: placementOf(prompt, config), children })
  const parameters = prompt?.method.parameters(prompt.config, config) ?? []
  const parameterInput = ({ name, shape }: { name: string; shape: readonly number[] }) => [
    `parameter:${name}`,
    { shape, dtype: 'float32' as const },
  ]
  return {
    name: `${family.name} ${kind}`,
    inputs: {
      ...inputs,
      ...(kind === 'gradientFromFrozen' && {
        frozen: { shape: [inputs.tokenIds!.shape[0]!, config.hiddenSize], dtype: 'float32' as const },
      }),
      ...(temperature !== undefined && {
        teacher: { shape: ['Q', config.vocabSize], dtype: 'float32' as const },
        teacherWeight: { shape: ['Q'], dtype: 'float32' as const },
      }),
      ...(hiddenTerm && {
        teacherHidden: { shape: ['Q', config.hiddenSize], dtype: 'float32' as const },
        teacherHiddenWeight: { shape: ['Q'], dtype: 'float32' as const },
      }),
      ...Object.fromEntries(parameters.map(parameterInput)),
    },
    dims,
    weights,
    key: {
      kind,
      family: family.name,
      config,
      method: prompt && programKey(prompt.config),
      parameters,
      labelSmoothing,
      temperature,
      hiddenTerm,
      children,
    },
    fn: (given, weight) => {
      const targets = targetsOf(given)
      /** [Q, d] */
      const states = (values: Readonly<Record<string, tf.Tensor>>) =>
        forwardForest({
          family,
          config,
          weight,
          given,
          ...(prompt ? { prompt: { ...prompt, parameters: values } } : {}),
        })
      /** [Q, V] */
      const read = (values: Readonly<Record<string, tf.Tensor>>) => family.logits(config, weight, states(values))
      const all = Object.fromEntries(parameters.map(({ name }) => [name, given[`parameter:${name}`]!]))
      if (kind === 'logits') return { logits: read(all) }
      if (kind === 'logitsAndHidden') {
        const hidden = states(all)
        return { logits: family.logits(config, weight, hidden), hidden }
      }
      if (kind === 'logProbabilities') return { logProbabilities: tokenLogProbabilities(read(all), targets.row, targets.target) }
      const names = parameters.filter(({ frozen }) => !frozen).map(({ name }) => name)
      let divergence: tf.Scalar | undefined
      const loss = (...tensors: tf.Tensor[]) => {
        const learned = Object.fromEntries(names.map((name, i) => [name, tensors[i]!]))
        const hidden = states({ ...all, ...learned })
        const logits = family.logits(config, weight, hidden)
        const crossEntropy = tokenCrossEntropy(logits, targets, labelSmoothing)
        if (temperature === undefined) return crossEntropy
        const { teacher, teacherWeight, teacherHidden, teacherHiddenWeight } = given as Record<string, tf.Tensor>
        divergence = tf.keep(teacherDivergence(logits, { teacher: teacher!, weight: teacherWeight!, temperature }))
        const both = tf.add(crossEntropy, divergence) as tf.Scalar
        if (!hiddenTerm) return both
        return tf.add(both, hiddenDifference(hidden, { teacher: teacherHidden!, weight: teacherHiddenWeight! })) as tf.Scalar
      }
      const { value, grads } = tf.valueAndGrads(loss)(names.map(name => all[name]!))
      return {
        loss: value,
        ...(divergence && { divergence }),
        ...Object.fromEntries(names.map((name, i) => [`gradient:${name}`, grads[i]!])),
      }
    },
  }
}

function frozenSpec(
  { checkpoint: { family, config }, weights }: ProgramModel,
  { method, config: options }: ActivePrompt,
): ProgramSpec {
  const prompt = { method, config: options, parameters: {} }
  const placement = placementOf(prompt, config)
  const to = frozenLayers(prompt, config)
  const { inputs, dims } = forestSpec({ placement, children: false })
  return {
    name: `${family.name} frozen layers`,
    inputs,
    dims,
    weights,
    key: { kind: 'frozen', family: family.name, config, placement, to },
    // No hook acts below, so that none of the parameters is needed.
    fn: (given, weight) => ({ hidden: forwardForest({ family, config, weight, given, prompt, to }) }),
  }
}

/** What a method's tensor code can depend on: what it starts from is not among it. */
function programKey({
  init,
  softTokens,
  ...config
}: {
  readonly type: string
  readonly init?: unknown
  readonly softTokens?: unknown
}): object {
  return config
}
