import { networkInterfaces } from "node:os"
import { expect, test } from "vitest"
import { isOwnAddress } from "../../src/smtp-out/dns.ts"

test("addresses of this host are known", () => {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).map((one) => one.address))
  for (const address of ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", ...own])
    expect([address, isOwnAddress(address)]).toEqual([address, true])
  for (const address of ["192.0.2.1", "2001:db8::1", "::2"])
    expect([address, isOwnAddress(address)]).toEqual([address, false])
})
