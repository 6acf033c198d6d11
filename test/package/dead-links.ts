import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** Links of Markdown pages that lead nowhere: to files that are not there, or headings that a page does not have. Asks no network. */

/** Every page in a folder and those below. */
export const markdown = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.md'))
    .map(file => join(folder, file))

/** The anchors of a page's headings, as GitHub makes them; a repeated heading has a number. */
function anchors(page: string): ReadonlySet<string> {
  const seen = new Map<string, number>()
  const found = new Set<string>()
  for (const [, heading] of withoutCode(readFileSync(page, 'utf8')).matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const anchor = heading!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, '')
      .replaceAll(' ', '-')
    const count = seen.get(anchor) ?? 0
    seen.set(anchor, count + 1)
    found.add(count === 0 ? anchor : `${anchor}-${count}`)
  }
  for (const [, id] of readFileSync(page, 'utf8').matchAll(/<a (?:id|name)="([^"]+)"/g)) found.add(id!)
  return found
}

/** A page without what stands in fences, where a line that begins with `#` is no heading and brackets are no link. */
function withoutCode(text: string): string {
  return text.replace(/^( *)(```+|~~~+)[^\n]*\n[\s\S]*?^\1\2 *$/gm, '')
}

/** The links of a page's text, which is the file's own unless it is given. Addresses of the network are not followed. */
export function deadLinks(page: string, text = readFileSync(page, 'utf8')): string[] {
  const links = [
    ...withoutCode(text)
      .replace(/`[^`\n]+`/g, '')
      .matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g),
  ].map(match => match[1]!)
  return links.filter(link => {
    if (/^[a-z][a-z+.-]*:/i.test(link)) return false
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? page : join(dirname(page), decodeURIComponent(path))
    if (!existsSync(target)) return true
    return anchor !== undefined && (!statSync(target).isFile() || !anchors(resolve(target)).has(decodeURIComponent(anchor)))
  })
}
