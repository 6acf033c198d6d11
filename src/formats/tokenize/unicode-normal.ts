/**
 * The normal forms of Unicode in time that grows with the text. The engine's own `normalize` puts the marks behind a letter into order one
 * by one, each past all those before it, which takes minutes for a text of marks; long stretches of marks are put into order here first.
 */

/** Marks of 1 and of 240, the lowest and the highest class of those that are ordered. */
const lowest = '\u0334'
const highest = '\u0345'

/** No text that people write has a letter with as many marks. */
const longStretch = /\p{M}{64,}/gu

export function unicodeNormal(text: string, form: 'NFC' | 'NFD' | 'NFKC' | 'NFKD'): string {
  return text.replace(longStretch, ordered).normalize(form)
}

/** The marks of a stretch in canonical order: by class, those of one class as they stood; a mark of no class is passed by none. */
function ordered(stretch: string): string {
  const out: string[] = []
  let run: string[] = []
  const flush = () => {
    for (const mark of sorted(run)) out.push(mark)
    run = []
  }
  // Some marks are written as several.
  for (const character of stretch)
    for (const mark of decomposed(character)) {
      if (isOrdered(mark)) run.push(mark)
      else {
        flush()
        out.push(mark)
      }
    }
  flush()
  return out.join('')
}

/** By counting: there are few different marks, however many stand there. */
function sorted(marks: readonly string[]): string[] {
  const classes: string[][] = []
  const placeOf = new Map<string, string[]>()
  for (const mark of marks) {
    let place = placeOf.get(mark)
    if (place === undefined) {
      place = classes.find(([first]) => !passes(first!, mark) && !passes(mark, first!))
      if (place === undefined) {
        place = []
        const after = classes.findIndex(([first]) => passes(first!, mark))
        classes.splice(after < 0 ? classes.length : after, 0, place)
      }
      placeOf.set(mark, place)
    }
    place.push(mark)
  }
  return classes.flat()
}

const decompositions = new Map<string, readonly string[]>()

function decomposed(character: string): readonly string[] {
  let parts = decompositions.get(character)
  if (parts === undefined) {
    parts = [...character.normalize('NFD')]
    decompositions.set(character, parts)
  }
  return parts
}

/** Whether the first of two marks goes behind the second. */
const passes = (first: string, second: string): boolean =>
  `${first}${second}`.normalize('NFD') === `${second}${first}` && first !== second

const known = new Map<string, boolean>()

/** Whether a mark has a class at all: then the lowest or the highest passes it, or it them. */
function isOrdered(mark: string): boolean {
  let is = known.get(mark)
  if (is === undefined) {
    is = mark === lowest || mark === highest || passes(mark, lowest) || passes(highest, mark)
    known.set(mark, is)
  }
  return is
}
