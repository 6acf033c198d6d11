import { conformance } from './support/conformance.js'

conformance('gpt2', 'first')
