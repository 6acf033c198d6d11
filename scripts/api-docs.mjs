// Writes the API reference, a page for everything that src/index.ts exports, from the docstrings. TypeDoc needs the JavaScript interface of
// an older TypeScript, which stands beside the one that builds; whatever imports `typescript` here is given that one.
import { register } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const olderTypeScript = `export const resolve = (name, context, next) => next(name === 'typescript' ? 'typescript-5' : name, context)`
register(`data:text/javascript,${encodeURIComponent(olderTypeScript)}`, import.meta.url)
const { Application, Converter } = await import('typedoc')
const { default: ts } = await import('typescript')

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const out = process.argv[2] ?? join(root, 'docs', 'api')
const table = 'table'
const application = await Application.bootstrapWithPlugins({
  plugin: ['typedoc-plugin-markdown'],
  entryPoints: [join(root, 'src', 'index.ts')],
  tsconfig: join(root, 'tsconfig.json'),
  // Types are checked by `npm run check`, with the TypeScript that builds.
  skipErrorChecking: true,
  outputs: [{ name: 'markdown', path: out }],
  readme: 'none',
  disableSources: true,
  excludeExternals: true,
  excludeInternal: true,
  excludePrivate: true,
  validation: { notExported: false, invalidLink: true, notDocumented: false },
  treatValidationWarningsAsErrors: true,
  logLevel: 'Warn',
  outputFileStrategy: 'members',
  useCodeBlocks: true,
  hidePageHeader: true,
  hideBreadcrumbs: true,
  parametersFormat: table,
  interfacePropertiesFormat: table,
  classPropertiesFormat: table,
  typeAliasPropertiesFormat: table,
  propertyMembersFormat: table,
  typeDeclarationFormat: table,
})
const named = []
application.converter.on(Converter.EVENT_CREATE_PARAMETER, (context, parameter) => {
  // Options that are taken apart in the parameter list have no name there.
  if (parameter.name === '__namedParameters') parameter.name = 'options'
  // The name of a type that is derived from a schema is lost, and its hundreds of options would be written out.
  const written = context.getSymbolFromReflection(parameter)?.valueDeclaration?.type
  if (written === undefined || !ts.isTypeReferenceNode(written) || written.typeArguments !== undefined) return
  const symbol = context.getSymbolAtLocation(written.typeName)
  if (symbol !== undefined) named.push([parameter, context.createSymbolReference(context.resolveAliasedSymbol(symbol), context)])
})
application.converter.on(Converter.EVENT_RESOLVE_BEGIN, () => {
  for (const [parameter, type] of named) parameter.type = type
})
const project = await application.convert()
if (project === undefined) process.exit(1)
application.validate(project)
await application.generateOutputs(project)
if (application.logger.hasErrors()) process.exit(1)
