/** What a critic's reply says: the prompt in it, whatever stands around. */

const LABEL =
  /^(?:(?:(?:the|a|my|your)\s+)?(?:(?:new|better|improved|revised|final|original)\s+)?(?:instructions?|prompt)\s*(?:is|are|was)?|in other words)\s*:\s*/iu
const MARKS = /^(?:[-*•>#]+|\d+[.)])\s+/u
const TAGGED = /<(prompt|instruction)>((?:(?!<\1>).)*?)(?:<\/\1>|$)/gisu
const FENCE = /```[^\n`]*\n([\s\S]*?)(?:\n```|$)/gu

/**
 * The prompt in an answer that went on behind an opening quotation mark. Models do not keep to what they are asked: it stands between
 * tags (of several the last), in a fenced block, up to the closing quotation mark, behind a label, or on the first line that says something.
 * White space becomes single spaces.
 * @returns undefined where nothing is left that has a letter in it
 */
export const readPrompt = (answer: string): string | undefined =>
  cleaned(tagged(answer) ?? fenced(answer) ?? quoted(answer) ?? line(answer))

/**
 * The prompt in a reply that nothing had begun: between tags, in a fenced block, in the longest quotation of several words, or all of it.
 * @returns undefined where nothing is left that has a letter in it
 */
export const readReply = (reply: string): string | undefined =>
  cleaned(inner(tagged(reply)) ?? fenced(reply) ?? quotation(reply) ?? reply)

/** A fenced block between tags is what they are about. */
const inner = (text: string | undefined) => (text === undefined ? undefined : (fenced(text) ?? text))

/** Every text between the same tags: of a reply that holds several prompts. */
export const readPrompts = (reply: string): string[] => [...reply.matchAll(TAGGED)].flatMap(([, , text]) => cleaned(text!) ?? [])

const tagged = (answer: string): string | undefined => [...answer.matchAll(TAGGED)].at(-1)?.[2]

const fenced = (answer: string): string | undefined => [...answer.matchAll(FENCE)].at(-1)?.[1]

function cleaned(found: string): string | undefined {
  let text = found.replaceAll(/\s+/gu, ' ').trim().replace(MARKS, '').replace(LABEL, '')
  for (const [open, close] of ['""', '“”', "''", '``', '**'] as const)
    while (text.length > 1 && text.startsWith(open!) && text.endsWith(close!)) text = text.slice(1, -1).trim()
  return /\p{L}/u.test(text) ? text : undefined
}

/** A single word in quotation marks is mentioned, not proposed. */
function quotation(reply: string): string | undefined {
  const found = [...reply.matchAll(/["“]([^"“”]{8,})["”]/gu)].map(([, text]) => text!).filter(text => /\p{L}\s+\p{L}/u.test(text))
  return found.sort((a, b) => b.length - a.length)[0]
}

/** Up to the mark that closes the quotation; marks in it open and close quotations of their own. */
function quoted(answer: string): string | undefined {
  let depth = 1
  for (const { 0: mark, index } of answer.matchAll(/["“”]/gu)) {
    const isOpening =
      mark === '“' || (mark === '"' && /(?:^|[\s(])$/u.test(answer.slice(0, index)) && /^\S/u.test(answer.slice(index + 1)))
    // A mark right at the beginning repeats the one that was given.
    if (answer.slice(0, index).trim() === '') {
      if (isOpening) return quoted(answer.slice(index + 1))
      continue
    }
    depth += isOpening ? 1 : -1
    if (depth === 0) return answer.slice(0, index)
  }
  return undefined
}

/** The first line that is not merely an announcement of what follows. */
function line(answer: string): string {
  const lines = answer.split('\n').map(text => text.trim())
  const said = lines.filter(text => /\p{L}/u.test(text))
  return said.find(text => !text.endsWith(':')) ?? said[0] ?? ''
}
