import { expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { SearchPrograms } from '../../src/search/score/programs.js'
import { difference, random } from '../support/numbers.js'

// Gemma and Granite scale their embeddings before the first layer.
test.each(['gemma', 'granite', 'gpt2-erf'])(
  'products with the vocabulary are those of the rows that the first layer takes: %s',
  async name => {
    const model = await LanguageModel.load(`test/fixtures/models/${name}`, { threads: 1 })
    const programs = new SearchPrograms(model)
    const { vocabSize, hiddenSize } = model.config
    const table = await model.embeddingTable()
    const vectors = random(1, [2, hiddenSize]).data as Float32Array
    const weights = random(2, [2, vocabSize]).data as Float32Array
    const products = new Float32Array(2 * vocabSize)
    const sums = new Float32Array(2 * hiddenSize)
    for (let row = 0; row < 2; row++)
      for (let id = 0; id < vocabSize; id++)
        for (let i = 0; i < hiddenSize; i++) {
          products[row * vocabSize + id]! += vectors[row * hiddenSize + i]! * table[id * hiddenSize + i]!
          sums[row * hiddenSize + i]! += weights[row * vocabSize + id]! * table[id * hiddenSize + i]!
        }
    expect(difference(await programs.project(vectors), products)).toBeLessThan(1e-5)
    expect(difference(await programs.mix(weights), sums)).toBeLessThan(1e-5)
    // More vectors than one run takes, some tokens at a time.
    const many = random(3, [1030, hiddenSize]).data as Float32Array
    let seen = 0
    for await (const { ids, products, squaredNorms } of model.embeddingProducts(many)) {
      const found = ids.flatMap((id, i) => [
        products[i]!,
        products[1029 * ids.length + i]!,
        squaredNorms[i]! - dot(table, id, table, id),
      ])
      const wanted = ids.flatMap(id => [dot(many, 0, table, id), dot(many, 1029, table, id), 0])
      expect(difference(Float32Array.from(found), Float32Array.from(wanted))).toBeLessThan(1e-4)
      seen += ids.length
    }
    expect(seen).toBe(vocabSize)
    function dot(a: Float32Array, row: number, b: Float32Array, other: number): number {
      let sum = 0
      for (let i = 0; i < hiddenSize; i++) sum += a[row * hiddenSize + i]! * b[other * hiddenSize + i]!
      return sum
    }
    await programs.dispose()
    await model.dispose()
  },
)
