import { bullmq } from './bullmq.js'
import type { Engine } from './engine.js'
import { kubernetes } from './kubernetes.js'
import { ray } from './ray.js'
import { slurm } from './slurm.js'

/** Where workers may run besides this machine. */
export const engines: readonly Engine[] = [slurm, kubernetes, ray, bullmq]
