import { isIP } from "node:net"
import type { ClientAddress } from "../ports.ts"

/** `ID` as Dovecot's proxy sends it before login: with `login_trusted_networks` the server takes the client's address from it. */
export function idOf(client: ClientAddress): string {
  const pairs = [
    ["x-originating-ip", unmapped(client.address)],
    ["x-originating-port", client.port],
    ["x-connected-ip", unmapped(client.localAddress)],
    ["x-connected-port", client.localPort],
    ["x-proxy-ttl", PROXY_TTL],
  ]
  return `ID (${pairs.map(([name, value]) => `"${name}" "${value}"`).join(" ")})`
}

/**
 * The header of HAProxy's PROXY protocol, version 2, which stands before everything else on the connection.
 * @param client null: the connection is our own (command LOCAL)
 */
export function proxyHeader(client: ClientAddress | null): Uint8Array {
  const from = client && addressOctets(unmapped(client.address))
  const to = client && addressOctets(unmapped(client.localAddress))
  if (!client || !from || !to || from.length !== to.length) return Buffer.concat([SIGNATURE, LOCAL])
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(client.port, 0)
  ports.writeUInt16BE(client.localPort, 2)
  const addresses = Buffer.concat([from, to, ports])
  const family = from.length === 4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6
  return Buffer.concat([SIGNATURE, Uint8Array.of(VERSION_2_PROXY, family, 0, addresses.length), addresses])
}

/** A listener on `::` sees IPv4 clients as `::ffff:192.0.2.1` (RFC 4291 §2.5.5.2). */
function unmapped(address: string): string {
  return /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(address)?.[1] ?? address
}

/** @returns null for what is no address */
function addressOctets(address: string): Uint8Array | null {
  const [numbers = "", zone] = address.split("%")
  if (isIP(numbers) === 4) return Uint8Array.from(numbers.split("."), Number)
  // A zone names an interface of this machine, which means nothing on another.
  if (isIP(numbers) !== 6 || zone !== undefined) return null
  const [head = [], tail = []] = numbers.split("::").map((half) => half.split(":").filter((group) => group !== ""))
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0")
  const groups = [...head, ...zeros, ...tail].map((group) => Number.parseInt(group, 16))
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]))
}

/** How many proxies may follow before Dovecot takes it for a loop. */
const PROXY_TTL = 5
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1")
const VERSION_2_PROXY = 0x21
const TCP_OVER_IPV4 = 0x11
const TCP_OVER_IPV6 = 0x21
/** Version 2, LOCAL, no addresses. */
const LOCAL = Uint8Array.of(0x20, 0, 0, 0)
