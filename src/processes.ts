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
