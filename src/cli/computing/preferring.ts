import { prefer as preferByApi } from '../../api/choosing/prefer.js'
import { GradpromptError } from '../../errors.js'
import { startPreferPage } from '../../ui/prefer/server.js'
import type { PreferRequest } from './messages.js'
import type { Context } from './tasks.js'

/** `gradprompt prefer`, in the computing process: the page stands until it is ended. */
export async function prefer(
  { host, port, token, families: _, ...request }: PreferRequest,
  { signal, onProgress, onEvent, onNews }: Context<'prefer'>,
): Promise<never> {
  await using session = await preferByApi({
    ...request,
    signal,
    onProgress: (done, total, what) => onProgress({ what, done, total }),
    onWarning: warning => onEvent({ event: 'warning', ...warning }),
  })
  await using page = await startPreferPage(session, { host, port, token })
  await onNews({ event: 'listening', url: page.url, port: page.port, model: session.model, ...session.standing() })
  await new Promise<void>(resolve => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  await onNews({ event: 'stopping', ...session.standing() })
  throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
}
