/** PURE. [keys] of postern.toml: where keys of other people are looked for. */
import type { DirectoryConfig, KeysConfig, KeyserverConfig } from "./config.ts"
import type { Document } from "./document.ts"
import { readSecret } from "./secret.ts"
import { oneOf, readDomain, readDomainPattern, readDuration, readFlag, readText, wrong } from "./values.ts"

const SOURCES = ["pinned", "profile", "wkd", "dane", "autocrypt", "harvested"] as const
const LDAP_SCHEMES = { ldap: { security: "starttls", port: 389 }, ldaps: { security: "tls", port: 636 } } as const

/** `path` makes file names absolute. */
export function readKeys(document: Document, path: (value: unknown) => string): KeysConfig {
  const keys: KeysConfig = {
    sources: document.optional("keys.sources", readSources, ["pinned"]),
    timeoutMs: document.optional("keys.timeout", readDuration, 3e3),
    keepFoundMs: document.optional("keys.keep", readDuration, 86_400e3),
    keyservers: document.optional("keys.keyservers", readKeyservers, []),
    roots: document.optional("keys.roots", listOf(path), []),
    revocation: document.optional("keys.revocation", oneOf("off", "soft", "hard"), "soft"),
    revocationLists: document.optional("keys.revocationLists", listOf(path), []),
    plusTags: document.optional("keys.plusTags", readFlag, false),
    standIns: document.optional("keys.standIns", readFlag, false),
    keepNoneMs: document.optional("keys.keepNone", readDuration, 3_600e3),
    directories: readDirectories(document, path),
  }
  if (keys.sources.includes("dane") && !document.optional("dns.validating", readFlag, false))
    document.mistake("keys.sources", '"dane" needs dns.validating: what nobody has validated proves nothing')
  if (keys.timeoutMs > MAX_TIMEOUT_MS) document.mistake("keys.timeout", "is over 30s: senders wait for it")
  return keys
}

function readDirectories(document: Document, path: (value: unknown) => string): readonly DirectoryConfig[] {
  return document.tables("keys.directories").flatMap((at) => {
    const url = document.required(`${at}.url`, readText)
    const endpoint =
      url === null
        ? null
        : document.optional(`${at}.url`, () => document.endpoint(`${at}.url`, url, LDAP_SCHEMES), null)
    const user = document.optional<string | null>(`${at}.user`, readText, null)
    const password = readSecret(document, `${at}.password`, path)
    if ((user === null) !== (password === null))
      document.mistake(`${at}.user`, `needs ${at}.passwordFile, and the reverse`)
    const directory = {
      name: document.optional(`${at}.name`, readText, url ?? at),
      domains: document.optional<readonly string[]>(`${at}.domains`, readDirectoryDomains, ["*"]),
      base: document.optional(`${at}.base`, readText, ""),
      filter: document.optional<string | null>(`${at}.filter`, readText, null),
      caFile: document.optional<string | null>(`${at}.caFile`, path, null),
      login: user !== null && password !== null ? { user, password } : null,
    }
    return endpoint?.kind === "tcp" ? [{ ...directory, endpoint }] : []
  })
}

function readDirectoryDomains(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong('a list of domains, "*.example.org" for those below')
  return value.map((one) => (one === "*" ? "*" : readDomainPattern(one)))
}

function readSources(value: unknown): KeysConfig["sources"] {
  if (!Array.isArray(value)) throw wrong(`a list of ${SOURCES.map((name) => `"${name}"`).join(", ")}`)
  return [...new Set(value.map(oneOf(...SOURCES)))]
}

function listOf(read: (value: unknown) => string): (value: unknown) => readonly string[] {
  return (value) => {
    if (!Array.isArray(value)) throw wrong("a list of file names")
    return value.map(read)
  }
}

/** `vks://host` or `hkps://host`, with ":port" where it is not 443. */
function readKeyservers(value: unknown): readonly KeyserverConfig[] {
  const expected = wrong('a list of keyservers such as "vks://keys.openpgp.org" or "hkps://keys.example.org:8443"')
  if (!Array.isArray(value)) throw expected
  return value.map((text: unknown) => {
    const keyserver = typeof text === "string" ? keyserverIn(text) : null
    if (keyserver === null) throw expected
    return keyserver
  })
}

/** @returns null for what names no keyserver */
export function keyserverIn(text: string): KeyserverConfig | null {
  const [, protocol, host, port] = KEYSERVER.exec(text) ?? []
  if ((protocol !== "vks" && protocol !== "hkps") || Number(port ?? 443) > 65_535) return null
  return { protocol, host: readDomain(host), port: port === undefined ? null : Number(port) }
}

const KEYSERVER = /^(vks|hkps):\/\/([^:/@?#]+)(?::([1-9]\d{0,4}))?\/?$/
const MAX_TIMEOUT_MS = 30_000
