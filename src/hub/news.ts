/**
 * Who hears of downloads. Nothing is fetched in silence: who calls may listen, a process may have a listener of its own, and otherwise standard
 * error says what comes, how fast, and for how long.
 */
import type { DownloadEvent } from './download.js'

export type DownloadListener = (event: DownloadEvent) => void

/** The part of a terminal that is needed here. */
interface Stream {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
}

/** Who hears of downloads, and what stops them. */
export interface DownloadCaller {
  readonly onDownload?: DownloadListener | undefined
  readonly signal?: AbortSignal | undefined
}

let processCaller: DownloadCaller = {}

/** Sets both for this process, where a call says nothing else. */
export function hearDownloads(caller: DownloadCaller): void {
  processCaller = caller
}

export const downloadCaller = ({
  onDownload,
  signal,
}: DownloadCaller): { onEvent: DownloadListener; signal: AbortSignal | undefined } => ({
  onEvent: onDownload ?? processCaller.onDownload ?? downloadLines(),
  signal: signal ?? processCaller.signal,
})

/** Lines on standard error: on a terminal the one of the progress is redrawn, elsewhere there is one every ten seconds. */
export function downloadLines(stream: Stream = process.stderr): DownloadListener {
  const live = stream.isTTY === true
  let shownAt = performance.now()
  return event => {
    if (event.state === 'started') {
      const files = `${event.files} file${event.files === 1 ? '' : 's'}`
      stream.write(`downloading ${event.name} from ${event.from}: ${files}, ${size(event.total)}, into ${event.folder}\n`)
    } else if (event.state === 'finished') {
      stream.write(`${live ? '\r\x1b[2K' : ''}downloaded ${size(event.total)}\n`)
    } else if (performance.now() - shownAt >= (live ? 100 : 10_000)) {
      shownAt = performance.now()
      stream.write(live ? `\r\x1b[2K${progressLine(event)}` : `${progressLine(event)}\n`)
    }
  }
}

/** `model.safetensors: 0.42 of 1.20 GB  12.3 MB/s  1 min 03 s left` */
export function progressLine({ file, done, total, bytesPerSecond, secondsLeft }: DownloadEvent): string {
  const parts = [`${file === undefined ? '' : `${file}: `}${size(done)} of ${size(total)}`]
  if (bytesPerSecond !== undefined) parts.push(`${size(bytesPerSecond)}/s`)
  if (secondsLeft !== undefined) parts.push(`${duration(secondsLeft)} left`)
  return parts.join('  ')
}

const size = (bytes: number): string =>
  bytes >= 1e9
    ? `${(bytes / 1e9).toFixed(2)} GB`
    : bytes >= 1e6
      ? `${(bytes / 1e6).toFixed(1)} MB`
      : `${(bytes / 1e3).toFixed(1)} kB`

function duration(seconds: number): string {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`
}
