import { readdir, readFile } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { packageRoot } from '../../package-root.js'

/** The configs of the package's examples, to start from: their paths are rewritten, so that they are right in the folder of the page. */

export interface Example {
  /** `sst2/quickstart` */
  readonly name: string
  readonly command: 'tune' | 'search' | 'sweep'
  readonly yaml: string
}

export async function exampleConfigs(folder: string): Promise<Example[]> {
  const home = join(packageRoot(), 'examples')
  const paths = await readdir(home, { recursive: true }).catch(() => [])
  const found = paths
    .map(path => path.split(sep).join('/'))
    .filter(path => path.endsWith('.yaml'))
    .sort()
  const place = `${relative(folder, home).split(sep).join('/')}/`
  return Promise.all(
    found.map(async path => {
      const text = await readFile(join(home, path), 'utf8')
      const command = /^sweep:/m.test(text) ? 'sweep' : /^search:/m.test(text) ? 'search' : 'tune'
      // The first line names the schema, by a path that holds in the examples alone.
      const yaml = text.replace(/^# yaml-language-server:.*\n/, '').replace(/(?<=[\s"'[{,:]|\.\/)examples\//g, place)
      return { name: path.replace(/\.yaml$/, ''), command, yaml }
    }),
  )
}
