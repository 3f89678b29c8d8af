import { describe, expect, test } from "vitest"
import { element, xmlDocument } from "../../src/message/xml.ts"
import { mustRun, peer } from "../harness/peers.ts"

const PARSE = `
import sys, json, xml.etree.ElementTree as tree
print(json.dumps([[row.get("a"), row.text] for row in tree.fromstring(sys.stdin.buffer.read())]))
`

describe("writing XML", () => {
  const rows: [name: string, text: string, want?: string][] = [
    ["plain", "alice"],
    ["markup", `</inner><x y="z">&amp;]]>'<!-- -->`],
    ["white space", "  two\nlines\r\n\tand a tab  "],
    ["beyond ASCII", "Grüße 😀"],
    ["what XML cannot hold", "a\u0000b\u001bc\ufffed", "a\ufffdb\ufffdc\ufffdd"],
    ["half a character", "a\ud83d", "a\ufffd"],
  ]
  test.skipIf(!peer("python3"))("a parser reads what was written, in text and attribute", async () => {
    const document = xmlDocument(
      element(
        "rows",
        rows.map(([, text]) => element("row", text, { a: text })),
      ),
    )
    const seen: unknown = JSON.parse(
      Buffer.from(await mustRun("python3", ["-c", PARSE], { input: document })).toString(),
    )
    expect(seen).toEqual(rows.map(([, text, want = text]) => [want, want]))
  })

  test("elements stand on lines of their own", () => {
    expect(xmlDocument(element("a", [element("b", [element("c", "1 < 2")]), element("d", "")]), "<!-- x -->\n")).toBe(
      '<?xml version="1.0" encoding="UTF-8"?>\n<!-- x -->\n<a>\n  <b>\n    <c>1 &#60; 2</c>\n  </b>\n  <d/>\n</a>\n',
    )
  })
})
