import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { collect, preparedOf } from "../../src/pipeline/prepared.ts"
import { MAX_PART_HEADERS_OCTETS, transferEncoded } from "../../src/pipeline/transfer-encoded.ts"

const BASE64 = "Content-Transfer-Encoding: base64\r\n"

/** null: nothing is encoded. However it comes in pieces. */
async function encoded(entity: string, pieceOctets = 7): Promise<string | null> {
  const octets = Buffer.from(entity, "latin1")
  const parts = Array.from({ length: Math.ceil(octets.length / pieceOctets) }, (_, at) =>
    octets.subarray(at * pieceOctets, (at + 1) * pieceOctets),
  )
  const prepared = await transferEncoded(preparedOf(...parts))
  if (prepared === null) return null
  const written = Buffer.from(await collect(prepared.content()))
  expect(written.length).toBe(prepared.sizeOctets)
  return written.toString("latin1")
}

const base64 = (text: string) =>
  `${Buffer.from(text, "latin1")
    .toString("base64")
    .replace(/.{76}(?=.)/g, "$&\r\n")}\r\n`
const multipart = (...parts: readonly string[]) =>
  `Content-Type: multipart/mixed; boundary=m\r\n\r\npreamble\r\n${parts.map((part) => `--m\r\n${part}\r\n`).join("")}--m--\r\n`

describe("what relays would change", () => {
  const SAFE = "Content-Type: text/plain\r\n\r\nsafe"
  const rows: [name: string, entity: string, want: string | null][] = [
    ["nothing: nothing is written anew", `Subject: x\r\n\r\nsafe\r\n`, null],
    ["a text", "Subject: x\r\n\r\nflowed \r\n", `${BASE64}Subject: x\r\n\r\n${base64("flowed \r\n")}`],
    ["a blank at the very end", "\r\nflowed ", `${BASE64}\r\n${base64("flowed ")}`],
    ["a line that begins with From", "\r\nFrom me\r\n", `${BASE64}\r\n${base64("From me\r\n")}`],
    [
      "its encoding is replaced where it stands",
      "A: b\r\nContent-Transfer-Encoding:\r\n 8bit\r\nC: d\r\n\r\n\xfc",
      `A: b\r\n${BASE64}C: d\r\n\r\n${base64("\xfc")}`,
    ],
    [
      "one part of three: the others stay",
      multipart(SAFE, "Content-Type: text/plain\r\n\r\nflowed \r\nx", SAFE),
      multipart(SAFE, `${BASE64}Content-Type: text/plain\r\n\r\n${base64("flowed \r\nx")}`, SAFE),
    ],
    [
      "parts within parts",
      multipart(multipart("\r\nx ").replaceAll("--m", "--n").replace("=m", "=n"), "\r\ny "),
      multipart(
        multipart(`${BASE64}\r\n${base64("x ")}`)
          .replaceAll("--m", "--n")
          .replace("=m", "=n"),
        `${BASE64}\r\n${base64("y ")}`,
      ),
    ],
    ["what is encoded already stays", "Content-Transfer-Encoding: quoted-printable\r\n\r\nx \r\n", null],
    ["another message stays", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny \r\n", null],
    ["what is signed stays", multipart("\r\nx ").replace("mixed", "signed"), null],
    ["a report on delivery stays", "Content-Type: message/delivery-status\r\n\r\nx \r\n", null],
    ["a multipart without a boundary stays", "Content-Type: multipart/mixed\r\n\r\nx \r\n", null],
    ["header sections as long as they may be", `A: ${"x".repeat(MAX_PART_HEADERS_OCTETS - 7)}\r\n\r\nx `, "encoded"],
    ["header sections too long", `A: ${"x".repeat(MAX_PART_HEADERS_OCTETS - 6)}\r\n\r\nx `, null],
  ]
  test.each(rows)("%s", async (_name, entity, want) => {
    const written = await encoded(entity, entity.length > 10_000 ? 10_000 : 7)
    expect(want === "encoded" ? written?.startsWith(BASE64) : written).toBe(want === "encoded" ? true : want)
  })

  test("any parts, in any pieces: they decode to what was written", async () => {
    const octets = fc.string({ unit: fc.constantFrom("a", " ", "From ", "\xfc", "\r\n", "."), maxLength: 200 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(octets, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 50 }),
        async (bodies, size) => {
          const entity = multipart(...bodies.map((body) => `X: y\r\n\r\n${body}`))
          const written = (await encoded(entity, size)) ?? entity
          const read = written
            .split("\r\n--m")
            .slice(1, -1)
            .map((part) => {
              const body = part.slice(part.indexOf("\r\n\r\n") + 4)
              return part.includes("base64") ? Buffer.from(body, "base64").toString("latin1") : body
            })
          expect(read).toEqual(bodies)
        },
      ),
      { numRuns: Number(process.env["FUZZ_RUNS"] ?? 100) },
    )
  })
})
