import { BlockList, isIPv6 } from "node:net"
import type { Network } from "../config/config.ts"

/**
 * The network that an address is counted under: an IPv4 address itself, and the /64 of an IPv6 address, since whoever has one address of
 * it has them all (RFC 4291 §2.5.1). What is no address stands for itself.
 */
export function networkOf(address: string): string {
  const bare = address.replace(/%.*$/, "")
  if (!isIPv6(bare)) return bare
  // The URL parser knows every form and writes one (RFC 5952).
  const groups = expanded(new URL(`http://[${bare}]/`).hostname.slice(1, -1))
  return isMapped(groups) ? dotted(groups) : `${groups.slice(0, 4).join(":")}::/64`
}

/** Eight groups, of which "::" stands for as many zeros as are missing. */
function expanded(text: string): readonly string[] {
  const [left = [], right = []] = text.split("::").map((half) => (half === "" ? [] : half.split(":")))
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => "0"), ...right]
}

/** RFC 4291 §2.5.5.2: ::ffff:0:0/96, how IPv4 clients appear on an IPv6 socket. */
function isMapped(groups: readonly string[]): boolean {
  return groups.slice(0, 6).join(":") === "0:0:0:0:0:ffff"
}

function dotted(groups: readonly string[]): string {
  const words = groups.slice(6).map((group) => Number.parseInt(group, 16))
  return words.flatMap((word) => [word >> 8, word & 0xff]).join(".")
}

/** Whether an address is in one of these networks. */
export function membership(networks: readonly Network[]): (address: string) => boolean {
  const list = new BlockList()
  for (const { address, prefixBits, family } of networks) list.addSubnet(address, prefixBits, family)
  return (address) => list.check(address, isIPv6(address) ? "ipv6" : "ipv4")
}
