import { expect, test } from "vitest"
import { withoutComments } from "../../src/mime/comments.ts"

const rows: [name: string, given: string, want: string | null][] = [
  ["none", "a b", "a b"],
  ["one", "a (b) c", "a  c"],
  ["nested, with quoted pairs", "a (b (c\\)) \\( d) e", "a  e"],
  ["in a quoted string it is none", '"a (b" c', '"a (b" c'],
  ["a quoted pair in a quoted string", '"a\\" (b)" (c)', '"a\\" (b)" '],
  ["one without end", "a (b", null],
  ["a quoted string without end", 'a "b', null],
  ["an end without a beginning", "a) b", "a) b"],
]
for (const [name, given, want] of rows) test(name, () => expect(withoutComments(given)).toBe(want))
