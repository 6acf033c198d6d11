/**
 * A limit of time for computations that a file from outside decides: a regular expression of a tokenizer, a chat template. JavaScript
 * cannot stop a function of its own, but V8 stops whatever a script calls once the script's time is up, regular expressions included.
 * It knows nothing of what is computed, and does not bound memory: whoever calls it bounds what may be made.
 */
import { createContext, Script } from 'node:vm'

const slot: { work: (() => unknown) | undefined } = { work: undefined }
const caller = new Script('slot.work()')
let context: ReturnType<typeof createContext> | undefined

/**
 * What `work` returns, or `onTimeout`'s value or error when it took longer than `milliseconds`. A call costs about 0.1 ms.
 * Nothing that `work` was changing can be relied on after it was stopped.
 */
export function withinTime<T>(milliseconds: number, work: () => T, onTimeout: () => T): T {
  context ??= createContext({ slot })
  const outer = slot.work
  let result: { readonly value: T } | undefined
  slot.work = () => {
    result = { value: work() }
  }
  try {
    caller.runInContext(context, { timeout: Math.ceil(milliseconds) })
  } catch (error) {
    if ((error as NodeJS.ErrnoException | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return onTimeout()
    throw error
  } finally {
    slot.work = outer
  }
  return result!.value
}
