/** PURE. The notations of postern.toml's `[scan]`. The message goes there in clear: only over TLS, or within this machine. */
import type { ScanConfig } from "./config.ts"
import { hostIn, isLoopback, readEndpoint, wrong } from "./values.ts"

/** `clamd://host:3310` on this machine, or `clamd:/path` of a Unix socket. */
export function readClamd(value: unknown): NonNullable<ScanConfig["clamd"]> {
  const expected = wrong(`${SOCKETS}: clamd's protocol has no TLS`)
  if (typeof value !== "string") throw expected
  const endpoint = readEndpoint(value, CLAMD_SCHEMES)
  if (endpoint.kind === "unix") return endpoint
  if (endpoint.security !== "plain") throw expected
  return { kind: "tcp", host: endpoint.host, port: endpoint.port }
}

/** `https://…`, or `http://…` on this machine; without user and password. */
export function readHttp(value: unknown): string {
  const url = typeof value === "string" ? URL.parse(value) : null
  const safe = url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(hostIn(url)))
  if (url === null || !safe || url.username !== "" || url.password !== "" || url.hash !== "")
    throw wrong('"https://…", or "http://…" on this machine, without user and password')
  return url.href
}

/** The same, and nothing behind the host. */
export function readHttpRoot(value: unknown): string {
  const url = new URL(readHttp(value))
  if (url.pathname !== "/" || url.search !== "") throw wrong("a URL without a path")
  return url.href
}

/** A list of one or more of `mx` and `submission`. */
export function readScanned(value: unknown): ScanConfig["listeners"] {
  const expected = wrong('a list of "mx", "submission" or both')
  if (!Array.isArray(value) || value.length === 0) throw expected
  return value.map((word: unknown) => {
    if (word !== "mx" && word !== "submission") throw expected
    return word
  })
}

const SOCKETS = '"clamd://127.0.0.1:3310" or another port on this machine, or "clamd:/path/of/socket"'
// STARTTLS is what readEndpoint lets go on this machine only.
const CLAMD_SCHEMES = { clamd: { security: "starttls", port: 3310 } } as const
