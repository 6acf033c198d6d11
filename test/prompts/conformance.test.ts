import { conformance } from './support/conformance.js'

conformance('llama-gqa', 'every')
