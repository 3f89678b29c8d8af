import { BlockList, isIP, isIPv6 } from "node:net"

/**
 * False for addresses that lead into this machine or its networks: whoever publishes a name must not choose what we ask there (SSRF).
 * What is no address is none that is public.
 */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address)
  return version !== 0 && !NOT_PUBLIC.check(address, version === 6 ? "ipv6" : "ipv4")
}

/** IANA's special-purpose registries (RFC 6890) and multicast. IPv4-mapped IPv6 addresses are checked as IPv4. */
const NOT_PUBLIC = blocked(
  "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16",
  "198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4",
  // ::ffff:0:0:0/96 (RFC 2765), 64:ff9b::/96 and 2002::/16 lead to IPv4 addresses of all kinds.
  "::/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8",
)

function blocked(...lists: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of lists.join(" ").split(" ")) {
    const [address = "", bits = ""] = network.split("/")
    list.addSubnet(address, Number(bits), isIPv6(address) ? "ipv6" : "ipv4")
  }
  return list
}
