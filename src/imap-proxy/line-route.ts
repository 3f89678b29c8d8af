/** What becomes of one response line. `from`: where the FETCH items begin in the first piece of text, 0 afterwards. */
export interface LineRoute {
  text(octets: Uint8Array, from: number): void
  /** `marker`: `{n}` and its CRLF. */
  literal(size: number, marker: Uint8Array): void
  data(octets: Uint8Array, last: boolean): void
  end(lineEnd: Uint8Array): void
}
