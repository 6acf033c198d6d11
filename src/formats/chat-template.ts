/**
 * Chat templates: conversations to text as `transformers` renders them. A template comes with a model, so it is hostile until it has
 * ended: it runs under limits of steps, of text and of time, and can reach nothing but its variables.
 */
import { GradpromptError } from '../errors.js'
import { run } from './jinja/interpreter.js'
import { type Node, parseTemplate } from './jinja/syntax.js'
import { Budget, fromJavaScript, LacksError, LimitError, TemplateError, type Value } from './jinja/values.js'
import { withinTime } from './time-limit.js'

/** One turn of a conversation. Templates may read further fields (`tool_calls`, …). */
export interface ChatMessage {
  readonly role: string
  readonly content: string
  readonly [field: string]: unknown
}

export interface ChatTemplateOptions {
  /** Ends the text with the header of the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean
  /** Anything else is a variable of the template, by its own name: `enable_thinking`, `tools`, … */
  readonly [variable: string]: unknown
}

/** Renders a conversation to text, as `apply_chat_template(tokenize=False)` of `transformers` does. */
export type ChatTemplate = (messages: readonly ChatMessage[], options?: ChatTemplateOptions) => string

const plainTextHint = "write the prompt as plain text, or mend the template in the model's files"
const maxTemplateLength = 2 ** 20

/** The longest published templates take some 20,000 steps for a long conversation with tools. */
const maxSteps = 2 ** 21
/** Characters of all texts that are made on the way, beside 64 for each of the conversation. */
const maxCharacters = 2 ** 24
const maxMilliseconds = 1500

/**
 * Makes a renderer of a Jinja chat template; it is parsed at the first use.
 *
 * @param specialTokens `bos_token`, `eos_token`, …: variables every template sees
 * @throws {GradpromptError} from the renderer: `no-chat-template`, `invalid-chat-template` (its syntax), `unsupported-chat-template` (what
 * the engine lacks, by name), `chat-template-limit` (steps, text or time), `empty-conversation`, `chat-template-failed` (with the
 * template's own message)
 */
export function chatTemplateRenderer(source: string | undefined, specialTokens: Readonly<Record<string, string>>): ChatTemplate {
  let program: Node | undefined
  return (messages, { addGenerationPrompt = false, ...variables } = {}) => {
    if (source === undefined) {
      throw new GradpromptError('no-chat-template', 'The model has no chat template', {
        found: 'no template',
        expected: '"chat_template" in tokenizer_config.json, chat_template.jinja, or tokenizer.chat_template in a GGUF file',
        hint: 'base models have none: write the prompt as plain text',
      })
    }
    if (messages.length === 0) {
      throw new GradpromptError('empty-conversation', 'A chat template needs a conversation', {
        found: 'no messages',
        expected: 'one message or more',
        hint: '{ role: "user", content: "…" } is the shortest',
      })
    }
    return withinTime(
      maxMilliseconds,
      () => {
        program ??= parse(source)
        const given: Record<string, unknown> = { tools: null, documents: null, ...specialTokens, ...variables }
        given.add_generation_prompt = addGenerationPrompt
        // As in transformers: templates test whether a key is there, not whether it is null.
        given.messages = messages.map(message => Object.fromEntries(Object.entries(message).filter(([, value]) => value != null)))
        return render(program, given, messages)
      },
      () => {
        throw overLimit(`more than ${maxMilliseconds / 1000} s`)
      },
    )
  }
}

function render(program: Node, given: Readonly<Record<string, unknown>>, messages: readonly ChatMessage[]): string {
  try {
    const values = new Map<string, Value>(Object.entries(given).map(([name, value]) => [name, fromJavaScript(value)]))
    const size = messages.reduce((sum, { content }) => sum + (typeof content === 'string' ? content.length : 1000), 0)
    return run(program, values, new Budget(maxSteps + 4 * size, maxCharacters + 64 * size), () => new Date())
  } catch (cause) {
    if (cause instanceof LimitError) throw overLimit(cause.message)
    if (cause instanceof LacksError) {
      throw new GradpromptError(
        'unsupported-chat-template',
        `The model's chat template uses what this engine lacks: ${cause.message}`,
        {
          found: cause.message,
          expected: 'filters, tests, functions and methods of Jinja that chat templates have',
          hint: plainTextHint,
          cause,
        },
      )
    }
    if (cause instanceof RangeError) throw overLimit('more calls within calls than there is room for')
    const message = cause instanceof TemplateError ? cause.message : messageOf(cause)
    throw new GradpromptError('chat-template-failed', `The model's chat template refused the conversation: ${message}`, {
      found: `roles ${messages.map(message => message.role).join(', ')}`.slice(0, 200),
      expected: 'a conversation of the kind that this model was trained on',
      hint: 'most templates take system (only first), then user and assistant in turn',
      cause,
    })
  }
}

function overLimit(found: string): GradpromptError {
  return new GradpromptError('chat-template-limit', "The model's chat template does not come to an end", {
    found,
    expected: 'a text within the limits that every published template keeps',
    hint: plainTextHint,
  })
}

function parse(source: string): Node {
  if (source.length > maxTemplateLength) {
    throw new GradpromptError('invalid-chat-template', 'The chat template is too long', {
      found: `${source.length} characters`,
      expected: `at most ${maxTemplateLength}`,
      hint: plainTextHint,
    })
  }
  try {
    return parseTemplate(source)
  } catch (cause) {
    // The parser runs over the end of what is not closed.
    const message = cause instanceof TypeError ? 'it ends in the middle of something' : messageOf(cause)
    const statement = /Unknown statement type: (\w+)/.exec(message)?.[1]
    throw new GradpromptError(
      statement === undefined ? 'invalid-chat-template' : 'unsupported-chat-template',
      statement === undefined
        ? `The model's chat template cannot be parsed: ${message}`
        : `The model's chat template uses what this engine lacks: the statement "${statement}"`,
      { found: source.slice(0, 80), expected: 'a Jinja template', hint: plainTextHint, cause },
    )
  }
}

function messageOf(cause: unknown): string {
  return (cause instanceof Error ? cause.message : String(cause)).slice(0, 500)
}
