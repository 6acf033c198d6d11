/** The tree that `@huggingface/jinja` parses a template to, as far as the interpreter reads it. */
import { parse, tokenize } from '@huggingface/jinja'
import { parseable } from './source.js'

export type Node =
  | { readonly type: 'Program'; readonly body: readonly Node[] }
  | { readonly type: 'Set'; readonly assignee: Node; readonly value: Node | null; readonly body: readonly Node[] }
  | { readonly type: 'If'; readonly test: Node; readonly body: readonly Node[]; readonly alternate: readonly Node[] }
  | For
  | Macro
  | {
      readonly type: 'CallStatement'
      readonly call: Call
      readonly callerArgs: readonly Node[] | null
      readonly body: readonly Node[]
    }
  | { readonly type: 'FilterStatement'; readonly filter: Node; readonly body: readonly Node[] }
  | { readonly type: 'Break' | 'Continue' | 'Comment' }
  | { readonly type: 'IntegerLiteral' | 'FloatLiteral'; readonly value: number }
  | { readonly type: 'StringLiteral'; readonly value: string }
  | { readonly type: 'ArrayLiteral' | 'TupleLiteral'; readonly value: readonly Node[] }
  | { readonly type: 'ObjectLiteral'; readonly value: ReadonlyMap<Node, Node> }
  | Identifier
  | Call
  | Member
  | { readonly type: 'UnaryExpression'; readonly operator: { readonly value: string }; readonly argument: Node }
  | Binary
  | { readonly type: 'FilterExpression'; readonly operand: Node; readonly filter: Node }
  | { readonly type: 'TestExpression'; readonly operand: Node; readonly negate: boolean; readonly test: Identifier }
  | { readonly type: 'SelectExpression'; readonly lhs: Node; readonly test: Node }
  | { readonly type: 'Ternary'; readonly condition: Node; readonly trueExpr: Node; readonly falseExpr: Node }
  | Slice
  | { readonly type: 'KeywordArgumentExpression'; readonly key: Identifier; readonly value: Node }
  | { readonly type: 'SpreadExpression' | 'KeywordSpreadExpression'; readonly argument: Node }

export interface Identifier {
  readonly type: 'Identifier'
  readonly value: string
}

export interface Call {
  readonly type: 'CallExpression'
  readonly callee: Node
  readonly args: readonly Node[]
}

export interface Member {
  readonly type: 'MemberExpression'
  readonly object: Node
  readonly property: Node
  readonly computed: boolean
}

export interface Binary {
  readonly type: 'BinaryExpression'
  readonly operator: { readonly value: string }
  readonly left: Node
  readonly right: Node
}

export interface Slice {
  readonly type: 'SliceExpression'
  readonly start?: Node
  readonly stop?: Node
  readonly step?: Node
}

export interface For {
  readonly type: 'For'
  readonly loopvar: Node
  readonly iterable: Node
  readonly body: readonly Node[]
  readonly defaultBlock: readonly Node[]
}

export interface Macro {
  readonly type: 'Macro'
  readonly name: Identifier
  readonly args: readonly Node[]
  readonly body: readonly Node[]
}

/** With the white space of `trim_blocks` and `lstrip_blocks`, as `transformers` sets them. Throws what the library throws. */
export function parseTemplate(source: string): Node {
  return parse(tokenize(parseable(source), { lstrip_blocks: true, trim_blocks: true })) as unknown as Node
}
