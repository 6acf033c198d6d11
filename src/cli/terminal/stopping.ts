/** Signals that ask a command to stop, and what it then exits with. */
export const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

export type Stop = keyof typeof exitCodes

export const stopSignals = Object.keys(exitCodes) as Stop[]
