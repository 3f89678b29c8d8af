/** An address so that every letter of it is what it looks like: what is not ASCII stands there by number, `c\u{430}rol@one.example`. */
export function shownAddress(address: string): string {
  return address.replace(/[^\x21-\x7e]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)
}
