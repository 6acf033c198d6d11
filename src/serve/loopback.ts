const names: ReadonlySet<string> = new Set(['localhost', '::1', '[::1]'])

/** Whether an address or host name reaches this machine from itself alone. */
export const isLoopback = (host: string): boolean => names.has(host) || /^127(\.\d{1,3}){3}$/.test(host)
