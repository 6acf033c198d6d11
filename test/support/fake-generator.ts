import { setTimeout } from 'node:timers/promises'
import type { Generation, GenerationRequest, Generator } from '../../src/generate/request.js'

/** How the fake answers one request. */
export interface Script {
  readonly pieces: readonly string[]
  readonly finishReason?: 'stop' | 'length'
  readonly stoppedBy?: string | number
  /** Thrown after the pieces. */
  readonly error?: Error
  /** Before each piece. */
  readonly milliseconds?: number
}

/** A generator without a model: it says what it is told to, a token a piece, and remembers what it was asked. */
export class FakeGenerator implements Generator {
  readonly requests: GenerationRequest[] = []
  /** Requests that have ended by their signal. */
  aborted = 0
  active = 0
  mostActive = 0
  disposed = false

  constructor(private readonly script: (request: GenerationRequest, index: number) => Script) {}

  async generate(request: GenerationRequest): Promise<Generation> {
    const { pieces, finishReason = 'stop', stoppedBy, error, milliseconds } = this.script(request, this.requests.length)
    this.requests.push(request)
    this.active++
    this.mostActive = Math.max(this.mostActive, this.active)
    const said: string[] = []
    const generation = (reason: Generation['finishReason']): Generation => ({
      ids: said.map((_, i) => 100 + i),
      text: said.join(''),
      finishReason: reason,
      ...(stoppedBy !== undefined && { stoppedBy }),
      ...(request.logProbabilities && { logProbabilities: said.map((_, i) => -0.5 - i) }),
      ...(request.alternatives !== undefined && {
        alternatives: said.map((_, i) =>
          Array.from({ length: request.alternatives! }, (_, k) => ({ id: 200 + k, logProbability: -0.1 - i - k })),
        ),
      }),
      promptTokens: request.ids.length,
    })
    try {
      for (const piece of pieces) {
        await setTimeout(milliseconds ?? 0)
        if (request.signal?.aborted) {
          this.aborted++
          return generation('aborted')
        }
        said.push(piece)
        request.onText?.(piece)
      }
      if (error !== undefined) throw error
      return generation(finishReason)
    } finally {
      this.active--
    }
  }

  async dispose(): Promise<void> {
    this.disposed = true
  }
}
