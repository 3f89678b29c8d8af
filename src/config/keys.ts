/** PURE. [keys] of postern.toml: where keys of other people are looked for. */
import type { KeysConfig, KeyserverConfig } from "./config.ts"
import type { Document } from "./document.ts"
import { oneOf, readDomain, readDuration, wrong } from "./values.ts"

const SOURCES = ["pinned", "profile", "wkd"] as const

export function readKeys(document: Document): KeysConfig {
  const keys: KeysConfig = {
    sources: document.optional("keys.sources", readSources, ["pinned"]),
    timeoutMs: document.optional("keys.timeout", readDuration, 3e3),
    keepFoundMs: document.optional("keys.keep", readDuration, 86_400e3),
    keyservers: document.optional("keys.keyservers", readKeyservers, []),
    keepNoneMs: document.optional("keys.keepNone", readDuration, 3_600e3),
  }
  if (keys.timeoutMs > MAX_TIMEOUT_MS) document.mistake("keys.timeout", "is over 30s: senders wait for it")
  return keys
}

function readSources(value: unknown): KeysConfig["sources"] {
  if (!Array.isArray(value)) throw wrong(`a list of ${SOURCES.map((name) => `"${name}"`).join(", ")}`)
  return [...new Set(value.map(oneOf(...SOURCES)))]
}

/** `vks://host` or `hkps://host`, with ":port" where it is not 443. */
function readKeyservers(value: unknown): readonly KeyserverConfig[] {
  const expected = wrong('a list of keyservers such as "vks://keys.openpgp.org" or "hkps://keys.example.org:8443"')
  if (!Array.isArray(value)) throw expected
  return value.map((text: unknown) => {
    const [, protocol, host, port] = KEYSERVER.exec(typeof text === "string" ? text : "") ?? []
    if ((protocol !== "vks" && protocol !== "hkps") || Number(port ?? 443) > 65_535) throw expected
    return { protocol, host: readDomain(host), port: port === undefined ? null : Number(port) }
  })
}

const KEYSERVER = /^(vks|hkps):\/\/([^:/@?#]+)(?::([1-9]\d{0,4}))?\/?$/
const MAX_TIMEOUT_MS = 30_000
