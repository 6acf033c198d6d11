import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../../train/toy.js'

export const { folder } = temporaryFolder()

export let files = 0
export const newPath = (name: string) => join(folder, `${files++}-${name}`)
export const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
