/** What becomes of one response line. */
export interface LineRoute {
  /** `text` is `octets`, one character for each; `from`: where the FETCH items begin in the first piece, 0 afterwards. */
  text(octets: Uint8Array, text: string, from: number): void
  /** `marker`: `{n}` and its CRLF. */
  literal(size: number, marker: Uint8Array): void
  data(octets: Uint8Array, last: boolean): void
  end(lineEnd: Uint8Array): void
}
