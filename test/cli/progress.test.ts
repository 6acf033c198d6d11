import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  createProgress,
  curve,
  formatDuration,
  formatNumber,
  formatPlainLine,
  formatProgressLine,
  type ProgressStream,
  sparkline,
} from '../../src/cli/terminal/progress.js'

const state = {
  step: 40,
  steps: 400,
  loss: 0.71239,
  dev: { name: 'accuracy', value: 0.84 },
  rowsPerSecond: 14.23,
  secondsLeft: 125,
}

describe('formatting', () => {
  test.each([
    [0, '0.0 s'],
    [0.44, '0.4 s'],
    [9.94, '9.9 s'],
    [9.96, '10 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [125, '2 min 05 s'],
    [3599.7, '1 h 00 min'],
    [11_220, '3 h 07 min'],
    [86_399, '1 d 0 h'],
    [187_200, '2 d 4 h'],
    [Number.NaN, 'unknown'],
    [Number.POSITIVE_INFINITY, 'unknown'],
  ])('%d seconds: %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text)
  })

  test.each([
    [0, '0.0000'],
    [0.71239, '0.7124'],
    [-1.5, '-1.5000'],
    [12.345, '12.35'],
    [1234.5, '1234.50'],
    [1.2e-7, '1.2e-7'],
    [123_456, '1.2e+5'],
    [Number.NaN, 'NaN'],
  ])('%d: %s', (value, text) => {
    expect(formatNumber(value)).toBe(text)
  })

  test('a wide line has everything, a narrow one what matters most', () => {
    const line = (width: number) => formatProgressLine(state, { width, color: false })
    expect(line(120)).toBe(`███${'░'.repeat(27)}   40/400  loss 0.7124  dev accuracy 0.8400  14.2 rows/s  2 min 05 s left`)
    expect(line(75)).toBe(' 40/400  loss 0.7124  dev accuracy 0.8400  14.2 rows/s  2 min 05 s left')
    expect(line(59)).toBe(' 40/400  loss 0.7124  dev accuracy 0.8400  2 min 05 s left')
    expect(line(50)).toBe(' 40/400  loss 0.7124  dev accuracy 0.8400')
    expect(line(20)).toBe(' 40/400  loss 0.7124')
    expect(line(8)).toBe(' 40/400')
    expect(formatPlainLine(state)).toBe('step  40/400  loss 0.7124  dev accuracy 0.8400  14.2 rows/s  2 min 05 s left')
    expect(formatPlainLine({ step: 0, steps: 5 })).toBe('step 0/5')
  })

  test('never exceeds the width, and colours take none', () => {
    fc.assert(
      fc.property(fc.nat(400), fc.nat(200), fc.double(), fc.double({ min: 0, noNaN: true }), (step, width, loss, secondsLeft) => {
        const line = formatProgressLine({ ...state, step, loss, secondsLeft }, { width, color: false })
        expect(line.length).toBeLessThanOrEqual(width)
        const colored = formatProgressLine({ ...state, step, loss, secondsLeft }, { width, color: true })
        // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is removed
        expect(colored.replace(/\x1b\[\d*m/g, '')).toBe(line)
      }),
    )
  })
})

describe('createProgress', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const screen = (isTTY: boolean, columns?: number) => {
    const writes: string[] = []
    const stream: ProgressStream = { write: text => writes.push(text), isTTY, ...(columns !== undefined && { columns }) }
    return { writes, stream }
  }

  test('on a terminal redraws one line, at most ten times a second, and ticks between steps', () => {
    const { writes, stream } = screen(true, 100)
    const progress = createProgress(1000, { stream, environment: {} })
    for (let step = 1; step <= 500; step++) {
      vi.advanceTimersByTime(10)
      progress.step({ step, loss: 0.5, rowsPerSecond: 12 })
    }
    expect(writes.length).toBeGreaterThan(40)
    expect(writes.length).toBeLessThanOrEqual(51)
    expect(writes.every(text => text.startsWith('\r\x1b[2K') && !text.includes('\n'))).toBe(true)
    expect(writes.at(-1)).toMatch(/ 5\d\d?\/1000|491\/1000|500\/1000/)
    expect(writes.at(-1)).toContain('12.0 rows/s')
    const before = writes.length
    vi.advanceTimersByTime(3000)
    expect(writes.length).toBe(before + 3)
    // 5 s for 500 steps, 500 to go, 3 s of them gone by.
    expect(writes.at(-1)).toContain('2.0 s left')
    progress.end()
    expect(writes.at(-1)).toBe('\n')
    vi.advanceTimersByTime(10_000)
    progress.step({ step: 501, loss: 0.5 })
    expect(writes.at(-1)).toBe('\n')
  })

  test('colours on a terminal, unless NO_COLOR says otherwise', () => {
    const draw = (environment: Record<string, string>) => {
      const { writes, stream } = screen(true, 100)
      const progress = createProgress(10, { stream, environment })
      progress.step({ step: 1, loss: 1 })
      progress.end()
      return writes.join('')
    }
    expect(draw({})).toContain('\x1b[36m')
    expect(draw({ NO_COLOR: '1' })).not.toContain('\x1b[36m')
    expect(draw({ NO_COLOR: '' })).toContain('\x1b[36m')
    expect(draw({ TERM: 'dumb' })).not.toContain('\x1b')
  })

  test('elsewhere writes a plain line every ten seconds and for a dev evaluation, and the last state once', () => {
    const { writes, stream } = screen(false)
    const progress = createProgress(300, { stream, environment: {} })
    for (let step = 1; step <= 300; step++) {
      vi.advanceTimersByTime(100)
      progress.step({ step, loss: 2 })
      if (step === 150) for (const value of [0.8, 0.9]) progress.dev({ step, name: 'accuracy', value })
    }
    progress.end()
    progress.end()
    expect(writes).toEqual([
      'step 100/300  loss 2.0000  20 s left\n',
      'step 150/300  loss 2.0000  dev accuracy 0.8000  15 s left\n',
      'step 250/300  loss 2.0000  dev accuracy 0.9000  5.0 s left\n',
      'step 300/300  loss 2.0000  dev accuracy 0.9000  0.0 s left\n',
    ])
  })

  test('a resumed run reckons from where it goes on; the loss is a weighted mean in which the latest counts most', () => {
    const { writes, stream } = screen(false)
    const progress = createProgress(100, { firstStep: 80, stream, environment: {} })
    for (let step = 81; step <= 90; step++) {
      vi.advanceTimersByTime(1000)
      progress.step({ step, loss: step === 81 ? 1 : 2 })
    }
    expect(writes).toEqual([`step  90/100  loss ${formatNumber(2 - (0.1 * 0.9 ** 9) / (1 - 0.9 ** 10))}  10 s left\n`])
  })

  test('says what is under way within a long step, until the next', () => {
    const { writes, stream } = screen(true, 100)
    const progress = createProgress(10, { stream, environment: { NO_COLOR: '1' } })
    progress.step({ step: 1, loss: 1, generatedTokens: 12_345 })
    vi.advanceTimersByTime(200)
    progress.doing('answers 12/54')
    expect(writes.at(-1)).toMatch(/1\/10 {2}loss 1\.0000 {2}12,345 tokens .* answers 12\/54$/)
    vi.advanceTimersByTime(200)
    progress.step({ step: 2, loss: 1 })
    expect(writes.at(-1)).toContain('12,345 tokens')
    expect(writes.at(-1)).not.toContain('answers')
    progress.end()
  })

  test('a search shows the best loss so far, not a mean', () => {
    const { writes, stream } = screen(false)
    const progress = createProgress(20, { stream, environment: {} })
    for (let step = 1; step <= 10; step++) {
      vi.advanceTimersByTime(1000)
      progress.step({ step, best: 9 - step / 2 })
    }
    expect(writes).toEqual(['step 10/20  best 4.0000  10 s left\n'])
  })

  test('the time left is that of a budget which ends first', () => {
    const { writes, stream } = screen(false)
    const progress = createProgress(100, { firstStep: 10, firstShare: 0.2, stream, environment: {} })
    for (let step = 11; step <= 20; step++) {
      vi.advanceTimersByTime(1000)
      progress.step({ step, share: 0.2 + (step - 10) * 0.04, best: 1 })
    }
    expect(writes).toEqual(['step  20/100  best 1.0000  10 s left\n'])
  })

  test('notes stand above the live line', () => {
    const live = screen(true, 60)
    const progress = createProgress(10, { stream: live.stream, environment: { NO_COLOR: '1' } })
    progress.step({ step: 1, loss: 1 })
    progress.note('warning: slow')
    expect(live.writes.at(-2)).toBe('\r\x1b[2Kwarning: slow\n')
    expect(live.writes.at(-1)).toContain('1/10')
    progress.end()
    const plain = screen(false)
    createProgress(10, { stream: plain.stream, environment: {} }).note('warning: slow')
    expect(plain.writes).toEqual(['warning: slow\n'])
  })
})

describe('plots', () => {
  test('a sparkline rises and falls with its values', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe('▁▂▃▄▅▆▇█')
    expect(sparkline([1, Number.NaN, 0])).toBe('█ ▁')
    expect(sparkline([3, 3])).toBe('▅▅')
    expect(sparkline([])).toBe('')
  })

  test('a curve falls from the upper left to the lower right, joined', () => {
    expect(curve([3, 2, 1, 0], { width: 4, height: 2 })).toBe(['3.0000 ┤⠑⢄⠀⠀', '0.0000 ┤⠀⠀⠑⢄'].join('\n'))
    expect(curve([1, 0], { width: 1, height: 2 })).toBe(['1.0000 ┤⢱', '0.0000 ┤⢸'].join('\n'))
    expect(curve([5], { width: 2, height: 1 })).toBe('5.0000 ┤⠤⠤')
    expect(curve([], { width: 2, height: 1 })).toBe('0.0000 ┤⠀⠀')
  })

  test('has the size that was asked for, whatever the values', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double(), { maxLength: 300 }),
        fc.integer({ min: 1, max: 80 }),
        fc.integer({ min: 1, max: 10 }),
        (values, width, height) => {
          const lines = curve(values, { width, height }).split('\n')
          expect(lines).toHaveLength(height)
          for (const line of lines) expect(line.slice(line.indexOf('┤') + 1)).toMatch(new RegExp(`^[\u2800-\u28ff]{${width}}$`))
          expect(sparkline(values)).toHaveLength(values.length)
        },
      ),
      { examples: [[[-1.7976931348623157e308, -1.797693134862302e308], 4, 1]] },
    )
  })
})
