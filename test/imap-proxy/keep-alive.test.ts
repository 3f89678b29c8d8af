import type { Socket } from "node:net"
import { expect, test } from "vitest"
import { keepAlive } from "../../src/imap-proxy/keep-alive.ts"

/** The delay that a connection is given, milliseconds; null: it is not asked for. */
function delayOf(remoteAddress: string | undefined, remotePort: number, localPort = 993): number | null {
  let delay: number | null = null
  const setKeepAlive = (on: boolean, ms: number): void => {
    delay = on ? ms : null
  }
  keepAlive({ remoteAddress, remotePort, localPort, setKeepAlive } as unknown as Socket)
  return delay
}

test.each(["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", undefined])("%s is on this machine", (address) => {
  expect(delayOf(address, 40_000)).toBeNull()
})

test.each(["192.0.2.1", "128.0.0.1", "2001:db8::1", "::ffff:192.0.2.1"])("%s is asked", (address) => {
  expect(delayOf(address, 40_000)).toBeGreaterThanOrEqual(100_000)
})

test("ten thousand that come at once do not ask at once", () => {
  for (const delays of [
    Array.from({ length: 10_000 }, (_, index) => delayOf("192.0.2.1", 32_768 + index)),
    // Linux gives connections out even ports, towards one server.
    Array.from({ length: 10_000 }, (_, index) => delayOf("192.0.2.2", 143, 32_768 + 2 * index)),
  ]) {
    const perSecond = new Map<number | null, number>()
    for (const delay of delays) perSecond.set(delay, (perSecond.get(delay) ?? 0) + 1)
    expect(perSecond.has(null)).toBe(false)
    expect(Math.max(...delays.map((delay) => delay ?? 0))).toBeLessThan(240_000)
    expect(Math.max(...perSecond.values())).toBeLessThanOrEqual(200)
  }
})
