import { dspy } from './dspy.js'
import type { TextFormat } from './format.js'
import { langchain } from './langchain.js'
import { openai } from './openai.js'
import { plainJson } from './plain-json.js'
import { promptfoo } from './promptfoo.js'

/** Every tool that found words are written for. A new one is a file here, and a word. */
export const textFormats: readonly TextFormat[] = [plainJson, langchain, dspy, openai, promptfoo]
