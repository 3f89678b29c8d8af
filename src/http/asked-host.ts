/** PURE. By which names a listener without logins may be asked. */
import { isIP } from "node:net"

/**
 * Whether a Host field (RFC 9110 §7.2) names us: by one of `names`, as `localhost`, or by an IP address. A page in a browser can have any name of its
 * own lead to this machine and then read what is answered there as its own (DNS rebinding); an address nobody can lead elsewhere.
 * @param host undefined: there is none, as in HTTP/1.0; browsers always send one
 */
export function isAskedAs(names: readonly string[], host: string | undefined): boolean {
  if (host === undefined) return true
  const [, literal, plain] = HOST.exec(host) ?? []
  if (literal !== undefined) return isIP(literal) === 6
  const name = plain?.toLowerCase().replace(/\.$/, "")
  return name !== undefined && (name === "localhost" || isIP(name) === 4 || names.includes(name))
}

const HOST = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/
