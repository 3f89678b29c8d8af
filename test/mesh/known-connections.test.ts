import { expect, test } from "vitest"
import { knownConnections } from "../../src/mesh/known-connections.ts"
import { account, CREATED, connectedDevice } from "./people.ts"

const LATER = new Date(CREATED.getTime() + 1_000)
const alice = account("alice@example.com", 1)
const { connection } = connectedDevice(alice, 10, ["message"], LATER)

test("a connection is verified once, and again for another profile or other octets", () => {
  const verify = knownConnections()
  const first = verify(connection, alice.profile, CREATED)
  expect(verify(Uint8Array.from(connection), alice.profile, CREATED)).toBe(first)
  expect(verify(connection, { ...alice.profile }, CREATED)).not.toBe(first)
  const altered = connection.map((octet, at) => (at === connection.length - 40 ? octet ^ 1 : octet))
  expect(() => verify(altered, alice.profile, CREATED)).toThrow()
  expect(() => verify(connection, account("mallory@example.com", 2).profile, CREATED)).toThrow(
    expect.objectContaining({ code: "MESH_UNTRUSTED" }),
  )
  expect(verify(connection, alice.profile, CREATED)).toBe(first)
})

test("one whose time is over is refused, however well it is known", () => {
  const verify = knownConnections()
  verify(connection, alice.profile, CREATED)
  expect(() => verify(connection, alice.profile, LATER)).toThrow(expect.objectContaining({ code: "MESH_EXPIRED" }))
})
