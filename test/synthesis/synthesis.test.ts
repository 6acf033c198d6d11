import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Collection } from '../../src/api/synthesis/collection.js'
import { askFor, cleaned } from '../../src/synthesis/asks.js'
import { alike, diversityOf, piecesOf } from '../../src/synthesis/similarity.js'

describe('how alike texts are', () => {
  test('by runs of three words, without case and marks', () => {
    const of = (one: string, other: string) => alike(piecesOf(one), piecesOf(other))
    expect(of('The parcel came late again.', 'the PARCEL came late, again')).toBe(1)
    // Runs: the parcel came, parcel came late / the parcel came, parcel came soon.
    expect(of('the parcel came late', 'the parcel came soon')).toBeCloseTo(1 / 3)
    expect(of('a b c', 'd e f')).toBe(0)
    expect(of('too short', 'short')).toBe(0.5)
  })

  test('is the same both ways, 1 with itself, and a share', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 8 }).map(words => words.join(' '))
    fc.assert(
      fc.property(text, text, (one, other) => {
        const [a, b] = [piecesOf(one), piecesOf(other)]
        expect(alike(a, b)).toBe(alike(b, a))
        expect(alike(a, a)).toBe(1)
        expect(alike(a, b)).toBeGreaterThanOrEqual(0)
        expect(alike(a, b)).toBeLessThanOrEqual(1)
      }),
    )
  })

  test('of texts without anything in common all pairs differ; of one text over and over none does', () => {
    expect(diversityOf(['a b c d', 'e f g h'])).toEqual({ distance: 1, distinctPairs: 1 })
    expect(diversityOf(['a b c d', 'a b c d'])).toEqual({ distance: 0, distinctPairs: 0.5 })
    expect(diversityOf(['one'])).toEqual({ distance: 1, distinctPairs: 1 })
  })
})

describe('what is kept', () => {
  const collection = () =>
    new Collection({ labels: ['yes', 'no'], rows: 3, similar: 0.6, own: [{ text: 'my very own text here' }] })

  test('so many of each class, none like another or like an own one', () => {
    const kept = collection()
    expect([...kept.missing()]).toEqual([['yes', 2], ['no', 1]]) // biome-ignore format: one line
    const add = (text: string, label: string) => kept.add(text, label, 'Write a short text of the class yes')
    add('the first text of all', 'yes')
    add('The first text of all!', 'no')
    add('My very own text here.', 'no')
    add(' "…" ', 'no')
    add('Yes.', 'no')
    add('It is of "no", I think', 'no')
    add('Write a short text, please', 'no')
    const other = add('something else entirely said', 'no')
    expect(other).toMatchObject({ text: 'something else entirely said', label: 'no' })
    add('a class that is whole takes none', 'no')
    expect(kept.rejected).toEqual({ empty: 1, echoed: 3, repeated: 1, copied: 1, surplus: 1, disagreed: 0 })
    expect([kept.counts, kept.isWhole]).toEqual([{ yes: 1, no: 1 }, false])
    // What is of another class makes place for another.
    kept.drop([other!])
    expect([kept.counts.no, kept.rejected.disagreed]).toEqual([0, 1])
    add('a class that is whole takes none', 'no')
    add('a second one for it', 'yes')
    expect([kept.size, kept.isWhole]).toEqual([3, true])
  })
})

describe('what a model writes', () => {
  test.each([
    ['  The  parcel\nis late. ', 'The parcel is late.'],
    ['"The parcel is late."', 'The parcel is late.'],
    ['Sure, here is a short input: The parcel is late.', 'The parcel is late.'],
    ['Input: “The parcel is late.”', 'The parcel is late.'],
    ['"One" and "two" are late', '"One" and "two" are late'],
    ['Here I am, late again: no parcel', 'Here I am, late again: no parcel'],
    ['12:30', undefined],
    ['…', undefined],
  ])('%j is the row %j', (written, row) => expect(cleaned(written)).toBe(row))

  test('a chat is asked with own texts and a topic; another model goes on with rows', () => {
    const wanted = {
      task: 'Sort mails',
      label: 'praise',
      meaning: 'glad customers',
      shown: ['Lovely!'],
      topic: 'bread',
      place: 0,
    }
    expect(askFor(wanted, true)).toMatch(/Sort mails\nClass: praise, which means: glad customers[\s\S]*- Lovely![\s\S]*bread/)
    expect(askFor(wanted, false)).toBe(
      'Sort mails\n\nLabel: praise (glad customers)\nText: Lovely!\n\nLabel: praise (glad customers)\nText:',
    )
  })
})
