import { compileTemplate, requireColumns, type Template } from './template.js'

/** The columns that a template and an answer name, each once. */
export function namedColumns({ template, answer }: { readonly template: Template; readonly answer: string }): string[] {
  const texts = typeof template === 'string' ? [template] : template.map(({ content }) => content)
  return [...new Set([...texts, answer].flatMap(text => compileTemplate(text).columns))]
}

/**
 * Checks before any row is made that a file has the columns that a template and an answer name.
 * @throws GradpromptError `missing-column`, `invalid-template`
 */
export function requireTaskColumns(
  { template, answer }: { readonly template: Template; readonly answer: string },
  columns: readonly string[],
  path: string,
): void {
  const texts = typeof template === 'string' ? [template] : template.map(({ content }) => content)
  for (const text of texts) requireColumns(compileTemplate(text).columns, columns, `${path}: the template`)
  requireColumns(compileTemplate(answer).columns, columns, `${path}: the answer`)
}
