import { isRecord } from '../../json.js'
import { type Calls, type Complaint, inWords, type Look } from '../../own-calls.js'

/** What a data reader has to give back, for readers of people's own. */

const shape =
  '{ records: a list of objects of texts, columns: a list of texts, origins: where each record stands, as a list of texts }'

const table: Look = given => {
  if (!isRecord(given)) return { found: inWords(given), expected: shape }
  const wrong = (found: string, expected = shape): Complaint => ({ found, expected })
  const { records, columns, origins } = given
  if (!Array.isArray(records)) return wrong(`records: ${inWords(records)}`)
  for (const [name, list] of Object.entries({ columns, origins })) {
    if (!Array.isArray(list)) return wrong(`${name}: ${inWords(list)}`)
    const other = list.findIndex(text => typeof text !== 'string')
    if (other !== -1) return wrong(`${name}[${other}]: ${inWords(list[other])}`)
  }
  if ((origins as unknown[]).length !== records.length)
    return wrong(`${records.length} records and ${(origins as unknown[]).length} origins`, 'as many of one as of the other')
  for (const [i, record] of records.entries()) {
    if (!isRecord(record)) return wrong(`records[${i}]: ${inWords(record)}`)
    const other = Object.entries(record).find(([, value]) => typeof value !== 'string')
    if (other !== undefined)
      return wrong(
        `records[${i}].${other[0]}: ${inWords(other[1])}`,
        'texts: String(value), or no such member where there is none',
      )
  }
  return undefined
}

export const readerCalls: Calls = { later: ['read'], looks: { read: table } }
