import type { Device } from '../../program/devices.js'

const told = new WeakSet<object>()

/**
 * Says, once for each model, that its further devices have no share in something: a warning of the process, `first-device-alone`.
 * @param what is computed, in the plural
 */
export function tellFirstAlone(model: { readonly devices: readonly Device[]; readonly threads: number }, what: string): void {
  const { devices, threads } = model
  if (devices.length < 2 || told.has(model)) return
  told.add(model)
  const share = devices[0] === devices[1] ? `, with ${threads} ${threads === 1 ? 'thread' : 'threads'}` : ''
  process.emitWarning(`${what} are computed on ${devices[0]} alone, the first of the devices ${devices.join(', ')}${share}`, {
    type: 'GradpromptWarning',
    code: 'first-device-alone',
  })
}
