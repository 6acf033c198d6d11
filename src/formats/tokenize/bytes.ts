/** GPT-2's table: every byte as a printable character, which is how byte-level vocabularies spell it. */

const printable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae

const characterOfByte: readonly string[] = (() => {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
})()

const byteOfCharacter: ReadonlyMap<string, number> = new Map(characterOfByte.map((character, byte) => [character, byte]))

const encoder = new TextEncoder()

/** The bytes of `text` in UTF-8, each as the character that byte-level vocabularies write for it. */
export function spellBytes(text: string): string {
  let spelled = ''
  for (const byte of encoder.encode(text)) spelled += characterOfByte[byte]!
  return spelled
}

/** The bytes that a piece spells; of a piece with any other character, its own bytes. */
export function unspellBytes(piece: string): Uint8Array {
  const bytes = new Uint8Array(piece.length)
  let length = 0
  for (const character of piece) {
    const byte = byteOfCharacter.get(character)
    if (byte === undefined) return encoder.encode(piece)
    bytes[length++] = byte
  }
  return bytes
}

/** Whether every character of `text` stands for a byte. */
export function spellsBytes(text: string): boolean {
  return /^[!-~\u00a1-\u00ac\u00ae-\u0143]*$/.test(text)
}

/** `<0x0A>`, the token of one byte in vocabularies with byte fallback. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
}
