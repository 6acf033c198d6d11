import { withoutPythonComments, withoutSlashComments } from './comments.js'

/** What CodeBLEU has to know of a programming language: a new one is an entry here. */
export interface CodeLanguage {
  readonly name: string
  /** The package of its grammar, and the file in it. */
  readonly grammar: { readonly package: string; readonly file: string }
  readonly keywords: ReadonlySet<string>
  withoutComments(code: string): string
  /** Which nodes of its trees are what, for the flow of data. */
  readonly flow: FlowNodes
}

/** Types of nodes. */
export interface FlowNodes {
  /** `x = y`: left and right. Of Python several at once. */
  readonly assignment: readonly string[]
  /** A name with a value, in `name` and `value`; or the value as the second of two children. */
  readonly definition: readonly string[]
  readonly definitionBy: 'fields' | 'two children'
  readonly increment: readonly string[]
  readonly condition: readonly string[]
  /** Children of a condition whose states begin from those before it; `onwards`: all that follow the first of them do so as well. */
  readonly branch: readonly string[]
  readonly branchesOnwards: boolean
  /** A loop whose body is gone through again behind a declaration of this type. */
  readonly counted: readonly string[]
  readonly each: Readonly<Record<string, readonly [name: string, value: string]>>
  readonly repeated: readonly string[]
  /** Children that come before all others. */
  readonly first: readonly string[]
  /** Assignments of several names at once, and loops that bind as these do. */
  readonly several: boolean
}

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/))

const braces = {
  assignment: ['assignment_expression'],
  definition: ['variable_declarator'],
  condition: ['if_statement', 'else'],
  branch: ['if_statement', 'else'],
  branchesOnwards: true,
  counted: ['for_statement'],
  repeated: ['while_statement'],
  first: [],
  several: false,
} as const satisfies Partial<FlowNodes>

export const codeLanguages: readonly CodeLanguage[] = [
  {
    name: 'python',
    grammar: { package: 'tree-sitter-python', file: 'tree-sitter-python.wasm' },
    keywords: words(`
      False None True and as assert async await break case class continue def del elif else except finally for from global if import in is
      lambda match nonlocal not or pass raise return try type while with yield`),
    withoutComments: withoutPythonComments,
    flow: {
      assignment: ['assignment', 'augmented_assignment', 'for_in_clause'],
      definition: ['default_parameter'],
      definitionBy: 'fields',
      increment: [],
      condition: ['if_statement'],
      branch: ['elif_clause', 'else_clause'],
      branchesOnwards: false,
      counted: [],
      each: {},
      repeated: ['while_statement'],
      first: ['for_in_clause'],
      several: true,
    },
  },
  {
    name: 'java',
    grammar: { package: 'tree-sitter-java', file: 'tree-sitter-java.wasm' },
    keywords: words(`
      abstract assert boolean break byte case catch char class const continue default do double else enum extends final finally float for goto
      if implements import instanceof int interface long native new package private protected public return short static strictfp super switch
      synchronized this throw throws transient try void volatile while`),
    withoutComments: withoutSlashComments,
    flow: {
      ...braces,
      definitionBy: 'fields',
      increment: ['update_expression'],
      each: { enhanced_for_statement: ['name', 'value'] },
    },
  },
  {
    name: 'c-sharp',
    grammar: { package: 'tree-sitter-c-sharp', file: 'tree-sitter-c_sharp.wasm' },
    keywords: words(`
      abstract add alias as ascending async await base bool break by byte case catch char checked class const continue decimal default delegate
      descending do double dynamic else enum equals event explicit extern false finally fixed float for foreach from get global goto group if
      implicit in int interface internal into is join let lock long nameof namespace new notnull null object on operator orderby out override
      params partial private protected public readonly ref remove return sbyte sealed select set short sizeof stackalloc static string struct
      switch this throw true try typeof uint ulong unchecked unmanaged unsafe ushort using value var virtual void volatile when where while yield`),
    withoutComments: withoutSlashComments,
    flow: {
      ...braces,
      definitionBy: 'two children',
      increment: ['postfix_unary_expression'],
      each: { for_each_statement: ['left', 'right'] },
    },
  },
]
