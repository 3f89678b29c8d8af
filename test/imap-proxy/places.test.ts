import { describe, expect, test } from "vitest"
import { type PlaceLimits, Places, type Refusal } from "../../src/imap-proxy/places.ts"

const MANY: PlaceLimits = {
  connections: 100,
  beforeLogin: 100,
  connectionsPerAddress: 100,
  connectionsPerAccount: 100,
  connectionsPerDevice: 100,
}
const placesOf = (limits: Partial<PlaceLimits>): Places => new Places({ ...MANY, ...limits })

/** Takes a place for one of `address`, and logs it in as `account/device` when given. */
async function visit(places: Places, address: string, login?: string): Promise<number | Refusal> {
  const place = places.enter(address)
  if (typeof place !== "number" || login === undefined) return place
  const [account = "", device = ""] = login.split("/")
  return (await places.logIn(place, account, device)) ?? place
}

describe("one more than there are places for is refused, and one that leaves makes room", () => {
  const rows: [limit: Refusal, limits: Partial<PlaceLimits>, visits: [address: string, login?: string][]][] = [
    ["connections", { connections: 2 }, [["a", "x/1"], ["b", "y/1"], ["c"]]],
    ["before-login", { beforeLogin: 1 }, [["a", "x/1"], ["b", "x/1"], ["c"], ["d"]]],
    ["address", { connectionsPerAddress: 2 }, [["a", "x/1"], ["a"], ["b"], ["a"]]],
    [
      "account",
      { connectionsPerAccount: 2 },
      [
        ["a", "x/1"],
        ["b", "x/2"],
        ["b", "y/1"],
        ["c", "x/3"],
      ],
    ],
    [
      "device",
      { connectionsPerDevice: 1 },
      [
        ["a", "x/1"],
        ["b", "x/2"],
        ["b", "y/1"],
        ["c", "x/1"],
      ],
    ],
  ]
  for (const [limit, limits, visits] of rows)
    test(limit, async () => {
      const places = placesOf(limits)
      const taken: (number | Refusal)[] = []
      for (const [address, login] of visits) taken.push(await visit(places, address, login))
      const last = taken.pop()
      expect(last).toBe(limit)
      expect(taken.every((place) => typeof place === "number")).toBe(true)
      for (const place of taken) if (typeof place === "number") places.leave(place)
      const [address = "", login] = visits.at(-1) ?? []
      // Accounts and devices are refused at login, and keep their place until then.
      expect(typeof (await visit(places, address, login))).toBe("number")
    })
})

test("a connection that was refused at login may log in as somebody else", async () => {
  const places = placesOf({ connectionsPerDevice: 1 })
  await visit(places, "a", "x/1")
  const place = places.enter("a")
  if (typeof place !== "number") throw new Error(place)
  expect(await places.logIn(place, "x", "1")).toBe("device")
  expect(await places.logIn(place, "x", "2")).toBe(null)
  expect(places.beforeLogin).toBe(0)
})

test("leaving twice, and logging in after leaving, change nothing", async () => {
  const places = placesOf({})
  const place = places.enter("a")
  if (typeof place !== "number") throw new Error(place)
  places.leave(place)
  places.leave(place)
  expect(await places.logIn(place, "x", "1")).toBe(null)
  expect([places.count, places.beforeLogin]).toEqual([0, 0])
})
