/**
 * The script of a config: a form made from its schema beside its text. A field that is changed goes to the server with the text, and comes back
 * as another text; so there is one way to read and write a config, the one that the command line has.
 */
export const configScript = `
function openConfig() {
  const [form, yaml, command, find, said, dry, check, start, example] = ['form', 'yaml', 'command', 'find', 'said', 'dry', 'check', 'start', 'example'].map(id => document.getElementById(id))
  const given = new URLSearchParams(location.search)
  let [schema, config, shape] = [null, {}, '']
  const quoted = text => JSON.stringify(text)
  if (given.get('data')) yaml.value = 'data: { train: ' + quoted(given.get('data')) + ', split: { dev: 100 } }\\n'
    + (given.get('template') ? 'template: ' + (given.get('template').startsWith('[') ? given.get('template') : quoted(given.get('template'))) + '\\n' : '')
    + (given.get('answer') ? 'answer: ' + quoted(given.get('answer')) + '\\n' : '')
  const at = path => path.split('.').reduce((value, key) => value?.[key], config)
  const written = value => value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)
  const optionsOf = schema => schema.anyOf ?? schema.oneOf ?? [schema]
  const element = (tag, properties, ...children) => { const made = Object.assign(document.createElement(tag), properties); made.append(...children); return made }

  /** One option: its name, a field, and what it is for. */
  function option(schema, path) {
    const name = path.split('.').at(-1)
    const id = 'option-' + path
    const kinds = optionsOf(schema)
    const words = schema.enum ?? (kinds.every(kind => kind.const !== undefined) ? kinds.map(kind => kind.const) : undefined)
    const isSwitch = kinds.length === 1 && schema.type === 'boolean'
    const value = written(at(path))
    const choices = words ?? (isSwitch ? [true, false] : undefined)
    const known = choices?.map(String)
    const field = choices
      ? element('select', { id }, element('option', { value: '', textContent: schema.default === undefined ? '' : 'default: ' + written(schema.default) }), ...known.map(text => element('option', { textContent: text })), ...(value === '' || known.includes(value) ? [] : [element('option', { textContent: value })]))
      : kinds.some(kind => kind.type === 'string') ? element('textarea', { id, rows: Math.min(6, value.split('\\n').length) })
      : element('input', { id, inputMode: kinds.every(kind => kind.type === 'integer' || kind.type === 'number') ? 'decimal' : 'text' })
    field.value = value
    if (!choices && schema.default !== undefined) field.placeholder = written(schema.default)
    field.dataset.path = path
    if (schema.description) field.setAttribute('aria-describedby', id + '-about')
    return element('div', { className: 'option' + (value === '' ? '' : ' given') }, element('label', { htmlFor: id, textContent: name }), field, ...(schema.description ? [element('small', { id: id + '-about', textContent: schema.description })] : []))
  }

  /** A mapping of options; of several kinds by type, that of the type that is chosen. */
  function fieldsOf(schema, path) {
    const kinds = optionsOf(schema).filter(kind => kind.type === 'object' && kind.properties)
    if (kinds.length === 0 || kinds.length < optionsOf(schema).length && !kinds.some(kind => kind.properties.type)) return option(schema, path)
    const types = kinds.map(kind => kind.properties.type?.const)
    const chosen = at(path)?.type ?? schema.default?.type
    const kind = kinds[Math.max(0, types.indexOf(chosen))]
    const inner = []
    if (kinds.length > 1 && types.every(type => type !== undefined)) inner.push(option({ enum: types, default: schema.default?.type, description: kind.properties.type.description }, path + '.type'))
    for (const [name, part] of Object.entries(kind.properties)) if (name !== 'type' || kinds.length === 1 && part.const === undefined) inner.push(fieldsOf(part, path + '.' + name))
    const details = element('details', { open: at(path) !== undefined || path === 'data' }, element('summary', { textContent: path.split('.').at(-1) }), ...inner)
    details.dataset.path = path
    return details
  }

  function show() {
    const open = new Set([...form.querySelectorAll('details[open]')].map(({ dataset }) => dataset.path))
    const closed = new Set([...form.querySelectorAll('details:not([open])')].map(({ dataset }) => dataset.path))
    const [focus, from] = [document.activeElement?.id, document.activeElement?.selectionStart]
    form.replaceChildren(...Object.entries(schema.properties).map(([name, part]) => fieldsOf(part, name)))
    form.querySelectorAll('details').forEach(details => { if (open.has(details.dataset.path)) details.open = true; else if (closed.has(details.dataset.path)) details.open = false })
    const again = focus?.startsWith('option-') && document.getElementById(focus)
    if (again) { again.focus(); try { again.setSelectionRange(from, from) } catch {} }
    search()
  }

  function search() {
    const words = find.value.toLowerCase().split(/\\s+/).filter(word => word !== '')
    form.querySelectorAll('.option').forEach(one => { one.hidden = !words.every(word => (one.textContent + ' ' + one.querySelector('[data-path]').dataset.path).toLowerCase().includes(word)) })
    form.querySelectorAll('details').forEach(details => {
      const found = details.querySelector('.option:not([hidden])') !== null
      details.hidden = !found
      if (words.length > 0 && found) details.open = true
    })
  }

  let asked = 0
  async function update(change = {}) {
    const turn = ++asked
    try {
      const answer = await ask('/do/config', { command: command.value, yaml: yaml.value, ...change })
      if (turn !== asked) return
      said.replaceChildren()
      if (change.option !== undefined) yaml.value = answer.yaml
      ;[schema, config] = [answer.schema, answer.config]
      // The form stays as it is while only the text of one field differs.
      const newShape = JSON.stringify([command.value, config])
      if (shape !== newShape) { shape = newShape; show() }
    } catch (error) { if (turn === asked) saidIn(said, error.message) }
  }

  let timer
  yaml.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(update, 400) })
  command.addEventListener('change', () => { if (command.value === 'sweep' && !/^sweep:/m.test(yaml.value)) yaml.value += 'sweep:\\n  over:\\n    train.learningRate: { min: 0.001, max: 0.1, log: true }\\n  trials: 10\\n'; update() })
  // A text of one's own stays within reach: the browser's way back has it.
  example.addEventListener('change', () => { location.href = '/new' + (example.value === '' ? '' : '?example=' + encodeURIComponent(example.value)) })
  find.addEventListener('input', search)
  form.addEventListener('change', ({ target }) => { if (target.dataset.path) update({ option: target.dataset.path, value: target.value }) })

  const run = async dryRun => {
    for (const button of [check, start]) button.disabled = true
    try {
      const place = dryRun ? dry : said
      const answer = await ask('/do/start', { command: command.value, yaml: yaml.value, dryRun })
      const going = ({ href }) => { location.href = href; return true }
      await follow(place, answer, dryRun ? undefined : going)
    } catch (error) { saidIn(said, error.message) }
    for (const button of [check, start]) button.disabled = false
  }
  check.addEventListener('click', () => run(true))
  start.addEventListener('click', () => run(false))
  update()
}
`
