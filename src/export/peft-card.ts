import { basename, dirname } from 'node:path'
import type { PromptFile } from '../store/prompt-file.js'
import type { Ending } from './ending.js'
import { privacyWords } from './readme.js'

/**
 * The README of an exported adapter: Python that loads the base model and the adapter, fills the template that the prompt was learned in,
 * and answers a row as it was scored. It can be pasted as it stands.
 */

export interface CardOptions {
  readonly type: string
  /** As people name the base model. */
  readonly baseModel: string
  /** The file or folder that the base model was read from. */
  readonly basePath?: string | undefined
  /** Where the adapter is to be found. */
  readonly adapter: string
  readonly prompt?: Pick<PromptFile, 'template' | 'answer' | 'labels' | 'method' | 'privacy'> | undefined
  /** How its answers end; undefined: with nothing. */
  readonly ending?: Ending | undefined
}

export function modelCard(options: CardOptions): string {
  const { type, baseModel, prompt, ending } = options
  const isGguf = options.basePath?.endsWith('.gguf') === true
  return `---
base_model: ${JSON.stringify(baseModel)}
library_name: peft
tags:
- ${type.toLowerCase().replaceAll('_', '-')}
---

A soft prompt (${type}) for ${baseModel}, trained with gradprompt.

    pip install torch transformers peft${isGguf ? ' gguf' : ''}

\`\`\`python
${[loading(options), ...(prompt ? [filling(prompt), answering(prompt, ending)] : [])].join('\n\n')}
\`\`\`
${prompt ? `\n${remarks(prompt, ending)}\n` : ''}
\`self-test.json\` holds a few inputs with the greedy tokens and largest logits that they must give.
`
}

/** A text as Python writes it: JSON's escapes are Python's, but for characters beyond 16 bits, which stand as they are. */
const python = (value: unknown): string => JSON.stringify(value)

/** What transformers' `from_pretrained` is given for a base model: of a GGUF file the folder and the name apart. */
export function pretrained(baseModel: string, basePath: string | undefined): { readonly base: string; readonly file: string } {
  if (basePath?.endsWith('.gguf') !== true) return { base: baseModel, file: '' }
  return { base: dirname(basePath), file: `, gguf_file=${python(basename(basePath))}` }
}

function loading({ type, baseModel, basePath, adapter, prompt }: CardOptions): string {
  const { base, file } = pretrained(baseModel, basePath)
  const tasks = (prompt?.method as { tasks?: { names?: readonly string[] } } | undefined)?.tasks?.names
  return [
    ...(prompt ? ['import re', ''] : []),
    'import torch',
    'from peft import PeftModel',
    'from transformers import AutoModelForCausalLM, AutoTokenizer',
    '',
    `base = ${python(base)}   # where it is on your machine, or its id on the Hub`,
    `adapter = ${python(adapter)}   # this folder`,
    `tokenizer = AutoTokenizer.from_pretrained(base${file})`,
    `model = AutoModelForCausalLM.from_pretrained(base${file}, dtype=torch.float32)`,
    'model = PeftModel.from_pretrained(model, adapter).eval()',
    ...(type === 'MULTITASK_PROMPT_TUNING'
      ? [`task = {"task_ids": torch.tensor([0])}   # tasks in order${tasks === undefined ? '' : `: ${tasks.join(', ')}`}`]
      : ['task = {}']),
  ].join('\n')
}

function filling({ template }: NonNullable<CardOptions['prompt']>): string {
  const fill = [
    'def fill(text, row):   # {column} is a value of the row, {{ and }} are braces',
    '    return re.sub(r"\\{\\{|\\}\\}|\\{([^{}]+)\\}", lambda m: str(row[m[1]]) if m[1] else m[0][0], text)',
    '',
  ]
  const isTurns = (column: string) =>
    typeof template !== 'string' && template.some(({ role, content }) => role === 'conversation' && content === `{${column}}`)
  const row = `row = {${columnsOf(template)
    .map(column => `${python(column)}: ${isTurns(column) ? '[{"role": "user", "content": "…"}]' : '"…"'}`)
    .join(', ')}}`
  if (typeof template === 'string')
    return [...fill, row, `text = fill(${python(template)}, row)`, 'context = tokenizer(text).input_ids'].join('\n')
  const conversations = template.some(({ role }) => role === 'conversation')
  return [
    ...fill,
    row,
    `template = ${python(template)}`,
    ...(conversations
      ? [
          'messages = []',
          'for m in template:   # of a conversation its turns, without the answer',
          '    if m["role"] == "conversation":',
          '        messages += row[m["content"].strip("{}")]',
          '    else:',
          '        messages.append({"role": m["role"], "content": fill(m["content"], row)})',
        ]
      : ['messages = [{"role": m["role"], "content": fill(m["content"], row)} for m in template]']),
    'text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)',
    'context = tokenizer(text, add_special_tokens=False).input_ids',
  ].join('\n')
}

function answering({ labels, answer, template }: NonNullable<CardOptions['prompt']>, ending: Ending | undefined): string {
  if (labels === undefined)
    return [
      'inputs = {"input_ids": torch.tensor([context]), "attention_mask": torch.ones(1, len(context), dtype=torch.long)}',
      'with torch.no_grad():   # without a cache: under transformers 5.24 PEFT 0.21 takes every step with one for the first, and puts the prompt there again',
      `    written = model.generate(**inputs, **task, use_cache=False, max_new_tokens=64, do_sample=False${stopping(ending)})`,
      `print(tokenizer.decode(written[0][len(context):], skip_special_tokens=True)${ending?.isToken === false ? `.removesuffix(${python(ending.end.text)})` : ''})`,
    ].join('\n')
  // Labels of which one begins another are told apart by their ends.
  const scoredEnd = ending?.isScored === true ? ending.end.text : ''
  const words = [...new Set(Object.values(labels))].map(word => answer.replaceAll(/\{[^{}]+\}/g, () => word) + scoredEnd)
  const special = typeof template === 'string' ? '' : ', add_special_tokens=False'
  return [
    `answers = ${python(words)}   # what each class is answered with`,
    '',
    'def log_likelihood(answer):   # of the whole answer behind the text',
    `    ids = tokenizer(text + answer${special}).input_ids`,
    '    with torch.no_grad():',
    '        logits = model(input_ids=torch.tensor([ids]), **task).logits[0, -len(ids):]',
    '    scores = logits.log_softmax(-1)',
    '    # Tokens are those of text and answer together: where they part is where they differ from the text alone.',
    '    start = next((i for i, (a, b) in enumerate(zip(ids, context)) if a != b), len(context))',
    '    return sum(scores[i - 1, ids[i]].item() for i in range(start, len(ids)))',
    '',
    'print(max(answers, key=log_likelihood))',
  ].join('\n')
}

/** What generation stops at: a token by its id, a text as such. */
function stopping(ending: Ending | undefined): string {
  if (ending === undefined) return ''
  const { end, isToken } = ending
  return isToken ? `, eos_token_id=${end.ids[0]}` : `, stop_strings=[${python(end.text)}], tokenizer=tokenizer`
}

function remarks({ answer, labels, template, privacy }: NonNullable<CardOptions['prompt']>, ending: Ending | undefined): string {
  const turns = typeof template === 'string' ? 'plain text' : 'chat messages, through the chat template of the model'
  const behind = ending === undefined ? 'without anything behind it' : `with ${python(ending.end.text)} behind it`
  const kind =
    labels === undefined
      ? `free text; it was learned ${behind}`
      : `one of the classes, chosen by the likelihood of its whole answer${ending?.isScored ? `, ${behind}` : ''}`
  return `The template is ${turns}. The answer, ${python(answer)}, is ${kind}. A prompt works in the template that it was learned in, down to the spaces.${privacy ? ` Training rows: ${privacyWords(privacy, 'this prompt')}` : ''}`
}

function columnsOf(template: PromptFile['template']): string[] {
  const texts = typeof template === 'string' ? [template] : template.map(({ content }) => content)
  return [...new Set(texts.flatMap(text => [...text.matchAll(/\{\{|\}\}|\{([^{}]+)\}/g)].flatMap(([, column]) => column ?? [])))]
}
