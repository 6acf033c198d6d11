/** What is asked of other processes of this machine. */

/** Whether a process is there; one of somebody else's cannot be asked, but is. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

const tailLength = 300

/** Hears a stream of text; what it gives back tells the last line so far, which is where a process that fails says why. */
export function lastLineOf(stream: NodeJS.ReadableStream): () => string | undefined {
  let printed = ''
  stream.setEncoding('utf8').on('data', (text: string) => {
    printed = (printed + text).slice(-tailLength)
  })
  return () => printed.trim().split('\n').at(-1) || undefined
}
