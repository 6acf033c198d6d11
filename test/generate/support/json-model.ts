import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LanguageModel } from '../../../src/model/language-model.js'
import { FOLDER } from './engines.js'

/** The tiny model with a longer context, and with the brackets of JSON in the place of letters that nothing is made of. */
export const jsonFolder = mkdtempSync(join(tmpdir(), 'gradprompt-test-'))
cpSync(`${FOLDER}/llama-gqa`, jsonFolder, { recursive: true })
const at = (name: string) => join(jsonFolder, name)
const config = JSON.parse(readFileSync(at('config.json'), 'utf8')) as object
writeFileSync(at('config.json'), JSON.stringify({ ...config, max_position_embeddings: 1200 }))
const brackets = { U: '{', V: '}', W: '[', X: ']', Y: '\\', Z: '_' }
const tokenizer = Object.entries(brackets).reduce(
  (text, [letter, bracket]) => text.replace(`"${letter}":`, `${JSON.stringify(bracket)}:`),
  JSON.stringify(JSON.parse(readFileSync(at('tokenizer.json'), 'utf8'))),
)
writeFileSync(at('tokenizer.json'), tokenizer)

export const jsonModel = LanguageModel.load(jsonFolder, { threads: 1 })
