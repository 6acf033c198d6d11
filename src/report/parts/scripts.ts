import { rowsAtOnce } from './explorer.js'

/** Draws every chart of `charts`, again when the window or the colour scheme changes. Needs uPlot. */
export const chartScript = `const css = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()
const drawn = new Map()
function draw(id) {
  const place = document.getElementById(id)
  if (!place) return
  drawn.get(id)?.destroy()
  const { x, lines, data, bands, percent } = charts[id]
  const axis = { stroke: css('quiet'), grid: { stroke: css('line'), width: 1 }, ticks: { stroke: css('line'), width: 1, size: 4 }, font: '12px system-ui, sans-serif', labelFont: '12px system-ui, sans-serif' }
  const shown = value => value == null ? '' : percent ? (100 * value).toFixed(1) + ' %' : Math.abs(value) >= 1000 || value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4))
  const series = lines.map(({ label, color, width = 2, points = false, dashed }) => ({
    label, stroke: css(color), width, spanGaps: true, points: { show: points, size: 6, fill: css(color) }, ...(dashed && { dash: [4, 4] }), value: (_, value) => shown(value) }))
  drawn.set(id, new uPlot({
    width: Math.max(200, place.clientWidth), height: 230, scales: { x: { time: false } }, cursor: { points: { size: 7 } },
    axes: [{ ...axis, size: 34 }, { ...axis, size: 56, values: (_, ticks) => ticks.map(shown) }],
    series: [{ label: x }, ...series], ...(bands && { bands: bands.map(pair => ({ series: pair, fill: css('soft') + '55' })) }) }, data, place))
}
const drawAll = () => Object.keys(charts).forEach(draw)
drawAll()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll)
const widths = new Map()
const watcher = new ResizeObserver(entries => entries.forEach(({ target, contentRect: { width } }) => {
  if (widths.get(target.id) !== width && widths.has(target.id)) drawn.get(target.id)?.setSize({ width: Math.max(200, width), height: 230 })
  widths.set(target.id, width)
}))
Object.keys(charts).forEach(id => { const place = document.getElementById(id); if (place) watcher.observe(place) })`

/** Rows that are filtered by tags and searched by words, a few hundred at a time. */
export const explorerScript = `document.querySelectorAll('.explorer').forEach(explorer => {
  const rows = [...explorer.querySelectorAll('tbody tr')].map(row => ({ row, tags: (row.dataset.tags || '').split(' '), text: row.textContent.toLowerCase() }))
  const buttons = [...explorer.querySelectorAll('.controls button[data-tag]')]
  const [input, output, clear, more] = ['input', 'output', '.clear', '.more'].map(name => explorer.querySelector(name))
  const page = ${rowsAtOnce}
  let [tag, cell, limit] = [buttons.find(button => button.getAttribute('aria-pressed') === 'true')?.dataset.tag ?? '', null, page]
  const show = () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(word => word !== '')
    const found = rows.filter(({ tags, text }) => (tag === '' || tags.includes(tag)) && (!cell || cell.tags.every(own => tags.includes(own))) && words.every(word => text.includes(word)))
    const kept = new Set(found.slice(0, limit))
    rows.forEach(one => { one.row.hidden = !kept.has(one) })
    output.value = found.length.toLocaleString('en-US') + ' of ' + rows.length.toLocaleString('en-US') + ' rows'
    more.hidden = found.length <= limit
    clear.hidden = !cell
    if (cell) clear.textContent = cell.name + ' ×'
    buttons.forEach(button => button.setAttribute('aria-pressed', String(button.dataset.tag === tag)))
  }
  const choose = (newTag, newCell) => { tag = newTag; cell = newCell; limit = page; show() }
  buttons.forEach(button => button.addEventListener('click', () => choose(button.dataset.tag, cell)))
  input.addEventListener('input', () => { limit = page; show() })
  clear.addEventListener('click', () => choose(tag, null))
  more.addEventListener('click', () => { limit += 5 * page; show() })
  const body = explorer.querySelector('tbody')
  const valueOf = (row, column) => { const cell = row.children[column]; return cell.dataset.sort ?? cell.textContent }
  explorer.querySelectorAll('thead th').forEach((head, column) => head.querySelector('.sort')?.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending'
    explorer.querySelectorAll('thead th').forEach(other => other.removeAttribute('aria-sort'))
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending')
    rows.sort((a, b) => {
      const [x, y] = [valueOf(a.row, column), valueOf(b.row, column)]
      // What has no value stands last, whichever way.
      if (x === '' || y === '') return (x === '') - (y === '')
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y
      return down ? -order : order
    })
    rows.forEach(({ row }) => body.append(row))
    show()
  }))
  document.querySelectorAll('button[data-explorer="' + explorer.id + '"]').forEach(button => button.addEventListener('click', () => {
    choose('', { tags: button.dataset.shows.split(' '), name: button.dataset.name })
    explorer.scrollIntoView({ block: 'start' })
    clear.focus({ preventScroll: true })
  }))
  show()
})`

/** Saves rows and curves as files that the page itself makes, and copies texts. */
export const savingScript = `(() => {
  const named = (rows, columns) => rows.map(row => Object.fromEntries(columns.map((name, i) => [name, row[i]])))
  const rowsOf = id => {
    const place = document.getElementById(id)
    if (place && place.type === 'application/json') return JSON.parse(place.textContent)
    const { x, lines, data } = charts[id]
    return named(data[0].map((_, i) => data.map(column => column[i])), [x, ...lines.map(({ label }) => label)])
  }
  const csv = rows => {
    const columns = [...new Set(rows.flatMap(row => Object.keys(row)))]
    const field = value => { const text = value == null ? '' : String(value); return /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text }
    return [columns, ...rows.map(row => columns.map(name => row[name]))].map(line => line.map(field).join(',') + '\\r\\n').join('')
  }
  const save = ({ save: id, kind }) => {
    const rows = rowsOf(id)
    const link = document.createElement('a')
    link.href = URL.createObjectURL(new Blob([kind === 'csv' ? csv(rows) : JSON.stringify(rows, null, 1)], { type: kind === 'csv' ? 'text/csv' : 'application/json' }))
    link.download = (document.querySelector('h1').textContent + '-' + id.replace(/-data$/, '')).replace(/[^\\p{L}\\p{N}._-]+/gu, '-') + '.' + kind
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 1000)
  }
  const copied = async text => {
    try { await navigator.clipboard.writeText(text) } catch {
      const area = Object.assign(document.createElement('textarea'), { value: text })
      document.body.append(area)
      area.select()
      document.execCommand('copy')
      area.remove()
    }
  }
  const copy = async button => {
    await copied(button.dataset.copy)
    button.textContent = 'copied'
    setTimeout(() => { button.textContent = 'copy' }, 1500)
  }
  // Buttons may come into a page that is open.
  document.addEventListener('click', ({ target }) => {
    const saving = target.closest('[data-save]')
    const copying = target.closest('[data-copy]')
    if (saving) save(saving.dataset)
    if (copying) copy(copying)
  })
})()`
