import { z } from 'zod'

/** A config's schema as JSON Schema (draft 2020-12), for editors and for the list of options. Which options there are is unknown here. */
export const jsonSchemaOf = (schema: z.ZodType): z.core.JSONSchema.JSONSchema =>
  z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ jsonSchema }) => {
      // The range of exact integers says nothing to a reader.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
    },
  })
