import { expect, test } from "vitest"
import { parseAddress } from "../../../src/message/address.ts"
import type { KeyFormat } from "../../../src/profiles/key.ts"
import { pinnedSource } from "../../../src/profiles/sources/pinned.ts"

const never = new AbortController().signal
const addedAt = new Date("2026-11-26T12:00:00Z")

/** What is pinned, newest first, each by a letter in place of its octets. */
const PINS: Readonly<Record<string, readonly [KeyFormat, string][]>> = {
  "alice@partner.example": [
    ["smime", "b"],
    ["smime", "a"],
  ],
  "*@partner.example": [
    ["smime", "d"],
    ["openpgp", "e"],
  ],
}

async function found(address: string): Promise<readonly string[]> {
  const pinned = (key: string) =>
    (PINS[key] ?? []).map(([format, octets]) => ({ format, certificate: Buffer.from(octets), addedAt }))
  const answer = await pinnedSource({ of: pinned }).lookup(parseAddress(address), never)
  return (answer?.candidates ?? []).map(({ octets, place }) => `${Buffer.from(octets)} ${place.split(" for ")[1]}`)
}

const rows: [what: string, address: string, want: readonly string[]][] = [
  [
    "the newest of the address, and of formats that it has none of that of its domain",
    "Alice@partner.example",
    ["b alice@partner.example", "e *@partner.example"],
  ],
  [
    "that of the domain for everybody else there",
    "bob@partner.example",
    ["d *@partner.example", "e *@partner.example"],
  ],
  ["that of a domain is not for domains below it", "bob@mail.partner.example", []],
  ["nobody's", "bob@other.example", []],
]
test.each(rows)("%s", async (_what, address, want) => {
  expect(await found(address)).toEqual(want)
})
