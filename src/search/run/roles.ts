import { join } from 'node:path'
import { Endpoint } from '../../endpoint/client.js'
import { CallJournal } from '../../endpoint/journal.js'
import type { EndpointOptions } from '../../endpoint/options.js'
import type { GenerationEngine } from '../../generate/engine/engine.js'
import type { LanguageModel } from '../../model/language-model.js'
import { needsOf } from '../config.js'
import type { Member } from '../moves/member.js'
import type { Judge, RoleModel, Writer } from '../moves/writer.js'
import type { Budget, RoleSpending } from '../score/budget.js'
import type { TokenSpace } from '../space/token-space.js'
import { EndpointJudge, EndpointWriter } from '../writing/endpoint-writer.js'
import { EngineJudge } from '../writing/engine-judge.js'
import type { WrittenEntry } from '../writing/engine-role.js'
import { EngineWriter } from '../writing/engine-writer.js'
import { WrittenLog } from '../writing/written-log.js'
import type { SearchJob } from './job.js'
import type { SearchSession } from './run-search.js'

/** Who writes and who judges in a search: the searched model, another on this machine, or one behind an endpoint. */

export interface RoundWriter extends Writer {
  /** Begins a step, whose answers depend on nothing that was written before. */
  beginRound(step: number): void
}

export interface RoundJudge extends Judge {
  beginRound(step: number): void
}

export interface Roles extends AsyncDisposable {
  /** Those that a method has, under the budget of its search. */
  under(budget: Budget): { readonly writer: RoundWriter | undefined; readonly judge: RoundJudge | undefined }
  /** What endpoints have been asked. */
  outside(): { readonly calls: number; readonly cost: number }
  /** What each role has spent, those of endpoints beside those on this machine. */
  spent(local: Readonly<Record<string, RoleSpending>> | undefined): {
    readonly roles?: Readonly<Record<string, RoleSpending>>
  }
}

const isEndpoint = (role: RoleModel | undefined): role is EndpointOptions => typeof role === 'object'

/** Whether the searched model writes or judges itself. */
export function usesOwnModel({ config, method }: SearchJob): boolean {
  const { writer, judge, cases } = needsOf(config)
  // Of questions that a search makes itself, a person says the labels where no other model does.
  return (
    (method.writes === true && writer === undefined) || (method.judges === true && judge === undefined && cases === undefined)
  )
}

/**
 * Opens the roles of a search's method.
 * @param own the searched model's engine, where that has a role
 * @throws GradpromptError `endpoint-key-missing`, `run-corrupt`, and as opening an engine does
 */
export async function openRoles(
  job: SearchJob,
  session: SearchSession,
  {
    engine: own,
    open,
    batchSize,
  }: {
    readonly engine: GenerationEngine | undefined
    readonly open: (model: LanguageModel) => Promise<GenerationEngine>
    readonly batchSize: number
  },
): Promise<Roles> {
  const { config, method, model, optimizer, judge, progress } = job
  const { writer: writing, judge: judging, cases } = needsOf(config)
  const isJudged = method.judges === true && (cases === undefined || judging !== undefined)
  const { seed } = config
  const { signal, folder } = session
  const hasEndpoint = (method.writes === true && isEndpoint(writing)) || (method.judges === true && isEndpoint(judging))
  const journal = await CallJournal.open(hasEndpoint ? join(folder, 'calls.jsonl') : undefined)
  const log = method.writes ? await WrittenLog.open(folder, progress?.step ?? 0) : undefined
  const engines = new Map<LanguageModel, GenerationEngine>(own === undefined ? [] : [[model, own]])
  const opened: GenerationEngine[] = []
  const close = async () => {
    for (const engine of opened) await engine[Symbol.asyncDispose]()
  }
  try {
    for (const other of [method.writes && optimizer, method.judges && judge]) {
      if (!other || engines.has(other)) continue
      const engine = await open(other)
      opened.push(engine)
      engines.set(other, engine)
    }
  } catch (error) {
    await close()
    throw error
  }
  const warn = (code: string, message: string) => session.emit({ event: 'warning', code, message })
  const endpoint = (options: EndpointOptions, role: string, budget: Budget) =>
    new Endpoint(options, { role, journal, signal, warn, allow: more => budget.requireFor(more) })
  const onEntry = (entry: WrittenEntry) => log?.append(entry)
  const settings = (other: LanguageModel, budget: Budget) => ({
    ...{ seed, batchSize, budget, signal, onEntry },
    contextLength: other.config.maxPositionEmbeddings,
    onProgress: (done: number, total: number) => session.progress({ what: 'texts', done, total }),
  })
  const roleWriter = (budget: Budget): RoundWriter => {
    if (isEndpoint(writing)) {
      const onProgress = (done: number, total: number) => session.progress({ what: 'texts', done, total })
      return new EndpointWriter(endpoint(writing, 'optimizer', budget), { seed, parallel: writing.parallel, onEntry, onProgress })
    }
    const other = optimizer ?? model
    return new EngineWriter(engines.get(other)!, other.tokenizer, settings(other, budget))
  }
  const roleJudge = (budget: Budget): RoundJudge => {
    if (isEndpoint(judging)) return new EndpointJudge(endpoint(judging, 'judge', budget), judging.parallel)
    const other = judge ?? model
    return new EngineJudge(engines.get(other)!, other.tokenizer, settings(other, budget))
  }
  return {
    under: budget => ({
      writer: method.writes ? roleWriter(budget) : undefined,
      judge: isJudged ? roleJudge(budget) : undefined,
    }),
    outside: () => journal.total,
    spent(local) {
      const roles = { ...local, ...Object.fromEntries(journal.accounts) }
      return Object.keys(roles).length > 0 ? { roles } : {}
    },
    [Symbol.asyncDispose]: close,
  }
}

/** All that a method has tried, as `candidates.json` has it: lineage, texts and the scores of every question. */
export const poolOf = (pool: readonly Member[], space: TokenSpace) =>
  pool.map(({ ids, ...member }) => ({ ...member, prompt: space.text(ids), tokens: ids.length }))
