import { readFile } from 'node:fs/promises'
import { type ChatMessage, chatTemplateRenderer } from '../../src/formats/chat-template.js'
import { mutateText } from './mutate.js'
import type { FuzzTarget } from './run.js'

const words =
  "{% {%- %} -%} {{ }} {# #} for in if elif else endif endfor set endset macro endmacro call endcall filter endfilter raw endraw break continue ~ | . [ ] ( ) , : = == ** % // 'a' 99999 messages range(9999) x ns namespace() tojson join indent(99) replace('a','bb') batch(3) sort map('upper') groupby('role') list loop.index not is defined none true \n".split(
    ' ',
  )

/** Templates of the fixtures, cut, doubled and mixed, over a conversation. */
export const chatTemplate: FuzzTarget = {
  name: 'chat-template',
  async prepare() {
    const { conversations, cases } = JSON.parse(await readFile('test/fixtures/tokenizer/chat-templates.json', 'utf8')) as {
      conversations: { messages: ChatMessage[] }[]
      cases: { template: string }[]
    }
    const templates = cases.map(({ template }) => template)
    return async chance => {
      const template = mutateText(chance, chance.pick(templates), [...words, chance.pick(templates)])
      const { messages, ...variables } = chance.pick(conversations)
      return chatTemplateRenderer(template, { bos_token: '<s>' })(messages, variables)
    }
  },
}
