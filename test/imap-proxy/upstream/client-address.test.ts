import { expect, test } from "vitest"
import { idOf, proxyHeader } from "../../../src/imap-proxy/upstream/client-address.ts"

const SIGNATURE = "0d0a0d0a000d0a515549540a"
const ends = (address: string, localAddress: string) => ({ address, port: 0x1234, localAddress, localPort: 993 })
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")

const rows: readonly (readonly [name: string, client: ReturnType<typeof ends> | null, want: string])[] = [
  ["IPv4", ends("192.0.2.1", "198.51.100.2"), "2111000cc0000201c6336402123403e1"],
  [
    "IPv4 seen by a listener on ::",
    ends("::ffff:192.0.2.1", "::FFFF:198.51.100.2"),
    "2111000cc0000201c6336402123403e1",
  ],
  [
    "IPv6",
    ends("2001:db8::1", "::1"),
    "21210024" + "20010db8000000000000000000000001" + "00000000000000000000000000000001" + "123403e1",
  ],
  [
    "IPv6 with zeros at the end, and written out",
    ends("2001:db8::", "1:2:3:4:5:6:7:8"),
    "21210024" + "20010db8000000000000000000000000" + "00010002000300040005000600070008" + "123403e1",
  ],
  ["our own connection", null, "20000000"],
  ["two families", ends("192.0.2.1", "::1"), "20000000"],
  ["a zone", ends("fe80::1%eth0", "fe80::2%eth0"), "20000000"],
  ["no address", ends("unknown", "192.0.2.1"), "20000000"],
]
for (const [name, client, want] of rows)
  test(`PROXY header: ${name}`, () => expect(hex(proxyHeader(client))).toBe(SIGNATURE + want))

test("ID has the addresses as Dovecot reads them", () => {
  expect(idOf(ends("::ffff:192.0.2.1", "2001:db8::1"))).toBe(
    'ID ("x-originating-ip" "192.0.2.1" "x-originating-port" "4660" ' +
      '"x-connected-ip" "2001:db8::1" "x-connected-port" "993" "x-proxy-ttl" "5")',
  )
})
