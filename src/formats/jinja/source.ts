/**
 * The text of a template before the parser, for what `@huggingface/jinja` does not have: `{% raw %}` becomes a text in quotes, and `+` at a
 * tag, which keeps white space, an empty text beside it.
 */

const tag = /\{([#{%])/g
const opening = /^\{%([-+]?)\s*raw\s*([-+]?)%\}/
const closing = /\{%([-+]?)\s*endraw\s*([-+]?)%\}/g

/** What the parser reads of a template, with the white space that `trim_blocks` and `lstrip_blocks` leave, which `transformers` sets. */
export function parseable(source: string): string {
  return withoutRaw(
    source.replace(/\{%\+(?=[\s\w])/g, '{{ "" }}{%').replace(/\+%\}(\n?)/g, (_, line) => (line === '' ? '%}' : '%}{{ "\\n" }}')),
  )
}

function withoutRaw(source: string): string {
  if (!/\{%[-+]?\s*raw\b/.test(source)) return source
  let out = ''
  let done = 0
  tag.lastIndex = 0
  for (let match = tag.exec(source); match !== null; match = tag.exec(source)) {
    const at = match.index
    const raw = match[1] === '%' ? opening.exec(source.slice(at, at + 256)) : null
    if (raw === null) {
      const end = source.indexOf({ '#': '#}', '{': '}}', '%': '%}' }[match[1]!]!, at + 2)
      if (end < 0) break
      tag.lastIndex = end + 2
      continue
    }
    closing.lastIndex = at + raw[0].length
    const end = closing.exec(source)
    if (end === null) break
    let text = source.slice(at + raw[0].length, end.index)
    if (raw[2] === '-') text = text.trimStart()
    if (end[1] === '-') text = text.trimEnd()
    else if (end[1] !== '+') text = text.replace(/(^|\n)[ \t]*$/, '$1')
    const left = raw[1] === '-' ? '{%- if true %}' : '{% if true %}'
    const right = end[2] === '-' ? '{% endif -%}' : '{% endif %}'
    out += `${source.slice(done, at)}${left}{{ ${JSON.stringify(text)} }}${right}`
    done = end.index + end[0].length
    tag.lastIndex = done
  }
  return out + source.slice(done)
}
