/** What a line of progress can show; what is unknown is left out. */
export interface ProgressState {
  readonly step: number
  readonly steps: number
  /** Of the whole, what is done; by default that of the steps. */
  readonly share?: number | undefined
  /** Smoothed. */
  readonly loss?: number | undefined
  /** The lowest loss of a search so far. */
  readonly best?: number | undefined
  /** The latest dev evaluation. */
  readonly dev?: { readonly name: string; readonly value: number } | undefined
  readonly rowsPerSecond?: number | undefined
  readonly generatedTokens?: number | undefined
  readonly secondsLeft?: number | undefined
  /** What is under way within the step. */
  readonly doing?: string | undefined
}

/** The part of a terminal that is needed here. */
export interface ProgressStream {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
}

export interface Progress {
  /** After each optimiser step: what it lost, or what is best so far. */
  step(event: {
    step: number
    /** Of the whole, what is done: a budget may end a run before its last step. By default that of the steps. */
    share?: number | undefined
    loss?: number | undefined
    best?: number | undefined
    rowsPerSecond?: number | undefined
    generatedTokens?: number | undefined
  }): void
  /** While a step takes long: what is under way, such as `answers 12/54`. */
  doing(what: string): void
  /** After each dev evaluation. */
  dev(event: { step: number; name: string; value: number }): void
  /** A line of its own, above the live one. */
  note(text: string): void
  /** Leaves the last state standing and stops redrawing. */
  end(): void
}

const redrawMilliseconds = 100
const plainLineMilliseconds = 10_000
/** A dev evaluation is worth a line, but not when they come thick and fast. */
const plainDevMilliseconds = 1000
/** The time left ticks also while a step is slow. */
const tickMilliseconds = 1000
const lossMemory = 0.9
const clear = '\r\x1b[2K'

/**
 * The live line of a run, on standard error: a bar on a terminal, redrawn at most ten times a second; elsewhere (a file, a
 * pipe, `TERM=dumb`) plain lines, one after ten seconds or a dev evaluation. `NO_COLOR` turns colours off.
 */
export function createProgress(
  steps: number,
  {
    firstStep = 0,
    firstShare = firstStep / steps,
    stream = process.stderr,
    environment = process.env,
  }: {
    /** Steps that a resumed run has behind it. */
    firstStep?: number
    /** What they are of the whole. */
    firstShare?: number
    stream?: ProgressStream
    environment?: Readonly<Record<string, string | undefined>>
  } = {},
): Progress {
  const live = stream.isTTY === true && environment.TERM !== 'dumb'
  const color = live && !environment.NO_COLOR
  const started = performance.now()
  let state: ProgressState = { step: firstStep, steps }
  const losses = { sum: 0, weight: 0 }
  let finishAt: number | undefined
  let shownAt = live ? Number.NEGATIVE_INFINITY : started
  let news = false
  let ended = false

  const show = () => {
    const shown = {
      ...state,
      secondsLeft: finishAt === undefined ? undefined : Math.max(0, finishAt - performance.now()) / 1000,
    }
    // One column stays free: a full line makes some terminals wrap. Some say that they have none.
    const width = (stream.columns || 80) - 1
    stream.write(live ? clear + formatProgressLine(shown, { width, color }) : `${formatPlainLine(shown)}\n`)
    shownAt = performance.now()
    news = false
  }
  const showAfter = (milliseconds: number) => {
    news = true
    if (!ended && performance.now() - shownAt >= milliseconds) show()
  }
  const timer = live ? setInterval(() => showAfter(redrawMilliseconds), tickMilliseconds) : undefined
  timer?.unref()

  return {
    doing(what) {
      state = { ...state, doing: what }
      showAfter(live ? redrawMilliseconds : plainLineMilliseconds)
    },
    step({ step, share = step / steps, loss, best, rowsPerSecond, generatedTokens }) {
      if (loss !== undefined) {
        losses.sum = lossMemory * losses.sum + loss
        losses.weight = lossMemory * losses.weight + 1
      }
      state = {
        ...{ ...state, step, share, best, doing: undefined },
        ...(losses.weight > 0 && { loss: losses.sum / losses.weight }),
        ...(rowsPerSecond !== undefined && { rowsPerSecond }),
        ...(generatedTokens !== undefined && { generatedTokens }),
      }
      const done = share - firstShare
      if (done > 0) finishAt = performance.now() + ((performance.now() - started) / done) * (1 - share)
      showAfter(live ? redrawMilliseconds : plainLineMilliseconds)
    },
    dev({ step, name, value }) {
      state = { ...state, step, dev: { name, value } }
      showAfter(live ? redrawMilliseconds : plainDevMilliseconds)
    },
    note(text) {
      stream.write(`${live && !ended ? clear : ''}${text}\n`)
      if (live && !ended) show()
    },
    end() {
      if (ended) return
      clearInterval(timer)
      if (live || news) show()
      if (live) stream.write('\n')
      ended = true
    },
  }
}

/** A line for work that has no steps: redrawn in place on a terminal, elsewhere one line after ten seconds. */
export function createActivity(stream: ProgressStream = process.stderr): {
  show(what: string, done: number, total: number): void
  clear(): void
  [Symbol.dispose](): void
} {
  const live = stream.isTTY === true
  let shownAt = live ? Number.NEGATIVE_INFINITY : performance.now()
  let standing = false
  const cleared = () => {
    if (standing) stream.write(clear)
    standing = false
  }
  return {
    show(what, done, total) {
      if (performance.now() - shownAt < (live ? redrawMilliseconds : plainLineMilliseconds)) return
      shownAt = performance.now()
      standing = live
      stream.write(live ? `${clear}${what} ${done}/${total}` : `${what} ${done}/${total}\n`)
    },
    clear: cleared,
    [Symbol.dispose]: cleared,
  }
}

/** The live line, at most `width` columns: when they are few the bar goes first, then the parts that matter least. */
export function formatProgressLine(state: ProgressState, { width, color }: { width: number; color: boolean }): string {
  const parts = partsOf(state)
  for (const drop of [undefined, 'doing', 'rows', 'tokens', 'left', 'dev', 'loss', 'best'] as const) {
    if (drop !== undefined) delete parts[drop]
    const text = Object.values(parts).join('  ')
    const barWidth = Math.min(30, width - text.length - 2)
    if (barWidth >= 10) return `${bar(state.share ?? state.step / state.steps, barWidth, color)}  ${text}`
    if (text.length <= width) return text
  }
  return `${state.step}/${state.steps}`.slice(0, Math.max(0, width))
}

/** The same for a file: no bar, no colour. */
export function formatPlainLine(state: ProgressState): string {
  const { steps, ...others } = partsOf(state)
  return [`step ${steps}`, ...Object.values(others)].join('  ')
}

type Part = 'loss' | 'best' | 'dev' | 'rows' | 'tokens' | 'left' | 'doing'

function partsOf(state: ProgressState): { steps: string } & { [Name in Part]?: string } {
  const { step, steps, loss, best, dev, rowsPerSecond, generatedTokens, secondsLeft, doing } = state
  return {
    steps: `${String(step).padStart(String(steps).length)}/${steps}`,
    ...(loss !== undefined && { loss: `loss ${formatNumber(loss)}` }),
    ...(best !== undefined && { best: `best ${formatNumber(best)}` }),
    ...(dev && { dev: `dev ${dev.name} ${formatNumber(dev.value)}` }),
    ...(rowsPerSecond !== undefined && { rows: `${rowsPerSecond.toFixed(1)} rows/s` }),
    ...(generatedTokens !== undefined && { tokens: `${generatedTokens.toLocaleString('en-US')} tokens` }),
    ...(secondsLeft !== undefined && { left: `${formatDuration(secondsLeft)} left` }),
    ...(doing !== undefined && { doing }),
  }
}

function bar(share: number, width: number, color: boolean): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8)
  const full = '█'.repeat(Math.floor(eighths / 8))
  const partial = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8]!
  const rest = '░'.repeat(width - full.length - partial.length)
  return color ? `\x1b[36m${full}${partial}\x1b[2m${rest}\x1b[0m` : full + partial + rest
}

/** Four figures or so: `0.7124`, `12.35`, `1.2e-7`. */
export function formatNumber(value: number): string {
  const size = Math.abs(value)
  if (!Number.isFinite(value)) return String(value)
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(1)
  return value.toFixed(size < 10 ? 4 : 2)
}

/** `0.4 s`, `48 s`, `2 min 05 s`, `3 h 07 min`, `2 d 4 h`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return 'unknown'
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`
  const hours = Math.round(seconds / 3600)
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

const two = (value: number): string => String(value).padStart(2, '0')

/** A line of blocks as high as the values, from the least to the greatest; a gap where a value is not finite. */
export function sparkline(values: readonly number[]): string {
  const blocks = '▁▂▃▄▅▆▇█'
  const [low, high] = rangeOf(values)
  return values.map(value => (Number.isFinite(value) ? blocks[Math.round(scale(value, low, high) * 7)] : ' ')).join('')
}

/**
 * A plot of the values, evenly spaced, in braille dots (two by four a character), with the range's ends on its axis.
 * @param width columns of the dots; the axis comes on top
 * @param height lines
 */
export function curve(values: readonly number[], { width, height }: { width: number; height: number }): string {
  const [low, high] = rangeOf(values)
  const columns = width * 2
  const rows = height * 4
  const cells = Array.from({ length: height }, () => new Uint8Array(width))
  const dot = (x: number, y: number) => {
    cells[y >> 2]![x >> 1]! |= [0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80][(x & 1) * 4 + (y & 3)]!
  }
  let before: number | undefined
  for (let x = 0; x < columns; x++) {
    const value = at(values, columns === 1 ? 0 : (x / (columns - 1)) * (values.length - 1))
    if (!Number.isFinite(value)) {
      before = undefined
      continue
    }
    const y = Math.round((1 - scale(value, low, high)) * (rows - 1))
    // A steep stretch is joined, from the row after the last dot on.
    for (let step = before ?? y; step !== y; step += Math.sign(y - step)) if (step !== before) dot(x, step)
    dot(x, y)
    before = y
  }
  const labels = [
    formatNumber(high),
    ...Array.from({ length: Math.max(0, height - 2) }, () => ''),
    ...(height > 1 ? [formatNumber(low)] : []),
  ]
  const margin = Math.max(...labels.map(label => label.length))
  return cells
    .map((line, i) => `${labels[i]!.padStart(margin)} ┤${String.fromCharCode(...Array.from(line, bits => 0x2800 + bits))}`)
    .join('\n')
}

/** The value between two neighbours. */
function at(values: readonly number[], position: number): number {
  const below = Math.floor(position)
  const low = values[below] ?? Number.NaN
  const share = position - below
  return share === 0 ? low : low * (1 - share) + (values[below + 1] ?? low) * share
}

function rangeOf(values: readonly number[]): [number, number] {
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  for (const value of values) {
    if (!Number.isFinite(value)) continue
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  return low <= high ? [low, high] : [0, 0]
}

/**
 * Where a value lies in a range, from 0 to 1; in the middle of an empty one. Halved, since the range of two numbers may overflow; and never
 * beyond, since a value between two neighbours may be rounded out of a narrow range, and since where numbers below the normal ones are
 * zero (`set_denormal_as_zero`), both halves may be zero.
 */
function scale(value: number, low: number, high: number): number {
  const part = (value / 2 - low / 2) / (high / 2 - low / 2)
  return Number.isNaN(part) ? 0.5 : Math.min(1, Math.max(0, part))
}
