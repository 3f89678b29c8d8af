import { expect, test } from "vitest"
import { Handshakes } from "../../src/imap-proxy/handshakes.ts"

const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test("so many at once, the others in their order", async () => {
  const handshakes = new Handshakes(2, 60_000)
  const turns: string[] = []
  const ends: (() => void)[] = []
  for (const name of ["a", "b", "c", "d"])
    void handshakes.turn().then((end) => {
      turns.push(name)
      ends.push(end)
    })
  await soon()
  expect(turns).toEqual(["a", "b"])
  expect(handshakes.waiting).toBe(2)
  ends[1]?.()
  ends[1]?.()
  await soon()
  expect(turns).toEqual(["a", "b", "c"])
  ends[0]?.()
  await soon()
  expect(turns).toEqual(["a", "b", "c", "d"])
  expect(handshakes.waiting).toBe(0)
  for (const end of ends) end()
  const [first, second] = [await handshakes.turn(), await handshakes.turn()]
  first()
  second()
})

test("who is slow holds up nobody for longer than a turn", async () => {
  const handshakes = new Handshakes(1, 5)
  await handshakes.turn()
  const end = await handshakes.turn()
  end()
})
