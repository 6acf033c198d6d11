/** The method of a run that names none. It stands apart, so that whoever reads a config loads no method for it. */
export const defaultMethod = { type: 'prompt-tuning' } as const
