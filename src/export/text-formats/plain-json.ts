import { json, type TextFormat } from './format.js'

/** All that is known of the words, for programs. */
export const plainJson: TextFormat = {
  file: 'prompt.json',
  usage: 'the words, the text around them, the answer and the labels, for programs.',
  content: ({ found, template, answer, labels }) =>
    json({
      prompt: found.prompt,
      template,
      answer,
      ...(labels && { labels }),
      model: found.config.model,
      method: found.config.search?.type,
      ...(found.privacy !== undefined && { privacy: found.privacy }),
    }),
}
