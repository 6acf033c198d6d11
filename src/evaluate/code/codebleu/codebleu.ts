import type { Node, Parser } from 'web-tree-sitter'
import { dataFlow, flowMatch } from './data-flow.js'
import type { CodeLanguage } from './languages.js'
import { codeBleuNgrams, codeTokens, weightedNgrams } from './ngrams.js'
import { parserOf } from './parser.js'

/** CodeBLEU and its parts, each from 0 to 1. */
export interface CodeBleu {
  readonly score: number
  readonly ngrams: number
  readonly weighted: number
  readonly syntax: number
  /** 1 where the reference has no flow of data. */
  readonly flow: number
}

/** CodeBLEU of code against a reference. @throws GradpromptError `missing-package` */
export async function codeBleuOf(language: CodeLanguage): Promise<(code: string, reference: string) => CodeBleu> {
  const parser = await parserOf(language)
  return (code, reference) => {
    const [tokens, right] = [codeTokens(code), codeTokens(reference)]
    const [own, expected] = [code, reference].map(text => structureOf(language.withoutComments(text.trim()), language, parser))
    const ngrams = codeBleuNgrams(tokens, right)
    const weighted = weightedNgrams(tokens, right, language.keywords)
    const there = new Set(own!.subtrees)
    const syntax = expected!.subtrees.filter(tree => there.has(tree)).length / expected!.subtrees.length
    const flow = flowMatch(own!.flows, expected!.flows) ?? 1
    return { score: (ngrams + weighted + syntax + flow) / 4, ngrams, weighted, syntax, flow }
  }
}

function structureOf(code: string, language: CodeLanguage, parser: Parser) {
  const tree = parser.parse(code)!
  try {
    return { subtrees: subtreesOf(tree.rootNode), flows: dataFlow(tree.rootNode, code, language.flow) }
  } finally {
    tree.delete()
  }
}

/** Every part of a tree that has parts itself, and the whole, without the names in it. */
function subtreesOf(root: Node): string[] {
  const trees: string[] = []
  const left = [root]
  for (let node = left.pop(); node !== undefined; node = left.pop()) {
    trees.push(node.toString())
    left.push(...node.children.filter(({ childCount }) => childCount > 0))
  }
  return trees
}
