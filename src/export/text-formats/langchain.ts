import { columnsOf, isIdentifier, isText, json, plainMessages, type TextFormat } from './format.js'

const constructed = (id: readonly string[], kwargs: object) => ({
  lc: 1,
  type: 'constructor',
  id: ['langchain', 'prompts', ...id],
  kwargs,
})

const promptTemplate = (template: string) =>
  constructed(['prompt', 'PromptTemplate'], { input_variables: columnsOf(template), template, template_format: 'f-string' })

const messageTypes = {
  system: 'SystemMessagePromptTemplate',
  user: 'HumanMessagePromptTemplate',
  assistant: 'AIMessagePromptTemplate',
}

/** A prompt template of LangChain, as `dumps` of `langchain_core.load` writes one. Its f-strings are the templates of this project. */
export const langchain: TextFormat = {
  file: 'langchain.json',
  usage: '`langchain_core.load.loads(open("langchain.json").read())` is the prompt template; `.invoke({…})` fills it in.',
  content({ template }) {
    if (!columnsOf(template).every(isIdentifier)) return undefined
    if (isText(template)) return json(promptTemplate(template))
    const messages = plainMessages(template)?.map(({ role, content }) =>
      constructed(['chat', messageTypes[role]], { prompt: promptTemplate(content) }),
    )
    return messages && json(constructed(['chat', 'ChatPromptTemplate'], { input_variables: columnsOf(template), messages }))
  },
}
