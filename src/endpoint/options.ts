import { z } from 'zod'

/** How a model behind an OpenAI-compatible endpoint is reached: its options in a config. */

const URL_RULE = 'an address by http or https, such as https://host/v1, without a key in it'

const isBase = (text: string): boolean => {
  if (!URL.canParse(text)) return false
  const { protocol, username, password, search, hash } = new URL(text)
  return (protocol === 'https:' || protocol === 'http:') && [username, password, search, hash].every(part => part === '')
}

export const endpointSchema = z.strictObject({
  url: z.string().refine(isBase, URL_RULE).describe('base of the API, to which /chat/completions is added: https://host/v1'),
  model: z.string().min(1).describe('name of the model, as the endpoint knows it'),
  key: z
    .string()
    .regex(/^[A-Z_][A-Z0-9_]*$/i, 'the name of an environment variable')
    .optional()
    .describe('environment variable that holds the key; the key itself is never written down'),
  requestsPerMinute: z.number().positive().optional().describe('requests in a minute, at most; by default no limit'),
  parallel: z.int().min(1).max(64).default(4).describe('requests at the same time, at most'),
  tries: z
    .int()
    .min(1)
    .max(20)
    .default(6)
    .describe('times that one request is sent: again after refusals for being busy, failures and silence'),
  timeout: z.number().positive().max(3600).default(120).describe('seconds until a request without an answer is given up'),
  price: z
    .strictObject({
      input: z.number().min(0).describe('of a million tokens that are read'),
      output: z.number().min(0).describe('of a million tokens that are written'),
    })
    .optional()
    .describe('what tokens cost, in any currency: the account and budget.cost are in it'),
  parameters: z
    .record(z.string().min(1), z.union([z.string(), z.number(), z.boolean(), z.null()]))
    .default({})
    .describe('further fields of a request; null leaves one out: { max_tokens: null, max_completion_tokens: 400 }'),
  replay: z
    .string()
    .min(1)
    .optional()
    .describe('calls.jsonl of an earlier run: every request is answered from it, and none is sent'),
})

export type EndpointOptions = z.output<typeof endpointSchema>
