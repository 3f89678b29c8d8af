import { expect, test } from "vitest"
import { isPublicAddress } from "../../src/net/public-address.ts"

const inward = [
  "127.0.0.1 10.1.2.3 100.64.0.1 169.254.169.254 172.31.0.1 192.168.1.1 0.0.0.0 224.0.0.1 255.255.255.255",
  ":: ::1 fe80::1 fd00::1 fec0::1 ff02::1 100::1 100:0:0:1::1 2001:db8::1",
  // IPv4 in IPv6: compatible, mapped, translated, NAT64, 6to4.
  "::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:7f00:1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::7f00:1 2002:7f00:1::",
].flatMap((line) => line.split(" "))
test.each(inward)("%s leads inside: it is not asked", (address) => {
  expect(isPublicAddress(address)).toBe(false)
})

test.each(["", "localhost", "127.1", "0x7f000001", "8.8.8.8 ", "[::1]"])("“%s” is no address: nor is it", (text) => {
  expect(isPublicAddress(text)).toBe(false)
})

const outward = "8.8.8.8 172.32.0.1 100.128.0.1 2001:4860:4860::8888 2a00:1450::1 ::ffff:8.8.8.8".split(" ")
test.each(outward)("%s is anybody's", (address) => {
  expect(isPublicAddress(address)).toBe(true)
})
