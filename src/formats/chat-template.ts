import { Template } from '@huggingface/jinja'
import { GradpromptError } from '../errors.js'

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

/**
 * Makes a renderer of a Jinja chat template; it is parsed at the first use.
 *
 * @param specialTokens `bos_token`, `eos_token`, …: variables every template sees
 * @throws {GradpromptError} from the renderer: `no-chat-template`, `invalid-chat-template` (its syntax), `empty-conversation`,
 * `chat-template-failed` (with the template's own message)
 */
export function chatTemplateRenderer(source: string | undefined, specialTokens: Readonly<Record<string, string>>): ChatTemplate {
  let template: Template | undefined
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
    template ??= parse(source)
    try {
      return template.render({
        tools: null,
        documents: null,
        ...specialTokens,
        ...variables,
        add_generation_prompt: addGenerationPrompt,
        // As in transformers: templates test whether a key is there, not whether it is null.
        messages: messages.map(message => Object.fromEntries(Object.entries(message).filter(([, value]) => value != null))),
      })
    } catch (cause) {
      throw new GradpromptError(
        'chat-template-failed',
        `The model's chat template refused the conversation: ${messageOf(cause)}`,
        {
          found: `roles ${messages.map(message => message.role).join(', ')}`,
          expected: 'a conversation of the kind that this model was trained on',
          hint: 'most templates take system (only first), then user and assistant in turn',
          cause,
        },
      )
    }
  }
}

function parse(source: string): Template {
  if (source.length > maxTemplateLength) {
    throw new GradpromptError('invalid-chat-template', 'The chat template is too long', {
      found: `${source.length} characters`,
      expected: `at most ${maxTemplateLength}`,
      hint: plainTextHint,
    })
  }
  try {
    return new Template(source)
  } catch (cause) {
    throw new GradpromptError('invalid-chat-template', `The model's chat template is not valid Jinja: ${messageOf(cause)}`, {
      found: source.slice(0, 80),
      expected: 'a Jinja template',
      hint: plainTextHint,
      cause,
    })
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
