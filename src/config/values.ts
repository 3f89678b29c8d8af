/** PURE. The notations of postern.toml: each function reads one value or throws what it should have been. */
import { isIP } from "node:net"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress, parseDomain } from "../message/address.ts"
import type { Endpoint, ListenAddress, Network, Security } from "./config.ts"

/** What stands before `://`, and what it means. */
export interface Scheme {
  readonly security: Security
  /** null: a port must be given. */
  readonly port: number | null
}

const SIZE = /^(\d{1,15})(B|KB|MB|GB|KiB|MiB|GiB)?$/
const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
}
const DURATION = /^(\d{1,9})(ms|s|m|h|d)$/
const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 }
/** A year: longer waits are mistakes, and timers beyond 2^31 ms fire at once. */
const MAX_DELAY_MS = 10_000
const MAX_DURATION_MS = 365 * 86_400e3

/** Any string but the empty one. */
export function readText(value: unknown): string {
  if (typeof value !== "string" || value === "") throw wrong("a string that is not empty")
  return value
}

/** One of `words`. */
export function oneOf<T extends string>(...words: readonly T[]): (value: unknown) => T {
  return (value) => {
    const found = words.find((word) => word === value)
    if (found === undefined) throw wrong(`one of ${words.map((word) => `"${word}"`).join(", ")}`)
    return found
  }
}

/** `true` or `false`. */
export function readFlag(value: unknown): boolean {
  if (typeof value !== "boolean") throw wrong("true or false")
  return value
}

/** A domain, or "*." and a domain for those below it; lower-case A-labels. */
export function readDomainPattern(value: unknown): string {
  if (typeof value !== "string") throw wrong('a domain, or "*." and a domain')
  return value.startsWith("*.") ? `*.${readDomain(value.slice(2))}` : readDomain(value)
}

/** Host names as in a policy of MTA-STS: "mx.example.org", or "*.example.org" for one label before it (RFC 8461 §3.2). */
export function readHostPatterns(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length === 0)
    throw wrong('a list of host names such as "mx.example.org", "*.example.org"')
  return value.map(readDomainPattern)
}

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): (value: unknown) => number {
  return (value) => {
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most)
      throw wrong(`a whole number from ${least} to ${most}`)
    return value
  }
}

/** Octets: `50MB` is 50,000,000, `50MiB` is 52,428,800; a bare number is octets. */
export function readSize(value: unknown): number {
  const match = typeof value === "number" && value >= 0 ? SIZE.exec(String(value)) : SIZE.exec(String(value ?? ""))
  if (!match || (typeof value !== "string" && typeof value !== "number"))
    throw wrong('a size such as "50MB" (50,000,000 octets) or "50MiB"')
  const octets = Number(match[1]) * (UNITS[match[2] ?? "B"] ?? 1)
  if (octets < 1 || !Number.isSafeInteger(octets)) throw wrong("a size of 1 octet or more")
  return octets
}

/** Milliseconds: `500ms`, `30s`, `5m`, `12h`, `5d`. */
export function readDuration(value: unknown): number {
  const match = typeof value === "string" ? DURATION.exec(value) : null
  if (!match) throw wrong('a duration such as "30s", "5m", "12h" or "5d"')
  const ms = Number(match[1]) * (MILLISECONDS[match[2] ?? ""] ?? 0)
  if (ms < 1 || ms > MAX_DURATION_MS) throw wrong("a duration from 1ms to 365d")
  return ms
}

/** Milliseconds; `off`: 0. */
export function readDurationOrOff(value: unknown): number {
  return value === "off" ? 0 : readDuration(value)
}

/** The same, 10 s at most. */
export function readDelay(value: unknown): number {
  const ms = readDurationOrOff(value)
  if (ms > MAX_DELAY_MS) throw wrong('a delay up to "10s", or "off"')
  return ms
}

/** `host:port`, `[IPv6]:port`, or `*:port` for every address. */
export function readListen(value: unknown): ListenAddress {
  const match = typeof value === "string" ? /^(\*|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(value) : null
  const port = Number(match?.[2])
  if (!match?.[1] || port > 65_535) throw wrong('"host:port" or "*:port", with a port up to 65535')
  return { host: match[1] === "*" ? "::" : unbracket(match[1]), port }
}

/** A list of domains, as lower-case A-labels; at least one. */
export function readDomains(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong("a list of one or more domains")
  return [...new Set(value.map(readDomain))]
}

/** The same, or none. */
export function readDomainsOrNone(value: unknown): readonly string[] {
  return Array.isArray(value) && value.length === 0 ? [] : readDomains(value)
}

/** One domain as lower-case A-labels. */
export function readDomain(value: unknown): string {
  if (typeof value !== "string" || value.startsWith("[")) throw wrong("a domain")
  return parseDomain(value)
}

/** An address in its stored form. */
export function readAddress(value: unknown): string {
  if (typeof value !== "string") throw wrong("an address")
  return addressKey(parseAddress(value))
}

/** A list of networks: addresses, with "/" and the number of bits where more than one address is meant. */
export function readNetworks(value: unknown): readonly Network[] {
  const expected = wrong('a list of networks such as "192.0.2.0/24" or "2001:db8::1"')
  if (!Array.isArray(value)) throw expected
  return value.map((text: unknown) => {
    const [, address = "", bits] = /^([0-9A-Fa-f.:]+)(?:\/(\d{1,3}))?$/.exec(typeof text === "string" ? text : "") ?? []
    const longest = { 4: 32, 6: 128 }[isIP(address)]
    const prefixBits = bits === undefined ? longest : Number(bits)
    if (longest === undefined || prefixBits === undefined || prefixBits > longest) throw expected
    return { address, prefixBits, family: longest === 32 ? "ipv4" : "ipv6" }
  })
}

/** A list of DNS servers: addresses, each with ":port" where it is not 53. */
export function readDnsServers(value: unknown): readonly string[] {
  const expected = wrong('a list of addresses of DNS servers, such as "127.0.0.1", "127.0.0.1:5353" or "[::1]:5353"')
  if (!Array.isArray(value)) throw expected
  return value.map((text: unknown) => {
    if (typeof text !== "string") throw expected
    const [, six, four, port = "53"] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? []
    const known = isIP(text) !== 0 || isIP(six ?? "") === 6 || isIP(four ?? "") === 4
    if (!known || Number(port) < 1 || Number(port) > 65_535) throw expected
    return text
  })
}

/** True when this server of {@link readDnsServers} is on this machine. */
export function isLocalDnsServer(server: string): boolean {
  return isLoopback(/^\[(.+)\]/.exec(server)?.[1] ?? (isIP(server) ? server : server.replace(/:\d+$/, "")))
}

/** A URL of HTTPS, without user, password and fragment. */
export function readHttpsUrl(value: unknown): string {
  const url = typeof value === "string" ? URL.parse(value) : null
  if (url?.protocol !== "https:" || url.username !== "" || url.password !== "" || url.hash !== "")
    throw wrong('a URL such as "https://host/path"')
  return url.href
}

/** An environment variable's name. */
export function readVariable(value: unknown): string {
  if (typeof value !== "string" || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(value))
    throw wrong("the name of an environment variable")
  return value
}

/**
 * A URL of another server: `scheme://host[:port]`, or `scheme:/path` (also `scheme:///path`) for a Unix socket.
 * Plain schemes mean STARTTLS, except to this machine, where it is used if offered.
 * @throws GatewayError CONFIG_INVALID, also for user names and passwords in the URL: secrets are never values
 */
export function readEndpoint(value: string, schemes: Readonly<Record<string, Scheme>>): Endpoint {
  const expected = wrong(
    `a URL such as ${Object.keys(schemes)
      .map((name) => `"${name}://host:port"`)
      .join(", ")}`,
  )
  const match = /^([a-z]+):(.*)$/.exec(value)
  const scheme = schemes[match?.[1] ?? ""]
  const rest = match?.[2] ?? ""
  if (!scheme) throw expected
  const path = /^(?:\/\/)?(\/(?!\/).+)$/.exec(rest)?.[1]
  if (path !== undefined && scheme.security !== "tls") return { kind: "unix", path }
  if (rest.includes("@")) throw wrong("a URL without user and password (name a file for the password)")
  const authority = /^\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?\/?$/.exec(rest)
  const port = authority?.[2] === undefined ? scheme.port : Number(authority[2])
  if (!authority?.[1] || port === null || port < 1 || port > 65_535) throw expected
  const host = unbracket(authority[1])
  const security = scheme.security === "starttls" && isLoopback(host) ? "plain" : scheme.security
  return { kind: "tcp", host, port, security }
}

/** True for `localhost`, 127.0.0.0/8 and ::1. */
export function isLoopback(host: string): boolean {
  return host === "::1" || host.toLowerCase() === "localhost" || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/** `embedded`, or a URL of one of these schemes without a password. */
export function urlOf(embedded: string, ...schemes: readonly string[]): (value: unknown) => string {
  const expected = wrong(
    `"${embedded}" or ${schemes.map((scheme) => `"${scheme}://…"`).join(" or ")} without a password`,
  )
  return (value) => {
    if (value === embedded) return embedded
    const url = typeof value === "string" ? URL.parse(value) : null
    if (url === null || !schemes.includes(url.protocol.slice(0, -1)) || url.password !== "" || url.hostname === "")
      throw expected
    return url.href
  }
}

/** The host of a URL: an address literal without its brackets. */
export function hostIn({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1")
}

/** `host:port`, an IPv6 address in brackets. */
export function written({ host, port }: ListenAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`
}

/** The mistake "not `what`". */
export function wrong(what: string): GatewayError {
  return new GatewayError("CONFIG_INVALID", `must be ${what}`)
}

function unbracket(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host
}
