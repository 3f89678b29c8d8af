/** PURE. [keys] of postern.toml: where keys of other people are looked for. */
import type { KeysConfig } from "./config.ts"
import type { Document } from "./document.ts"
import { oneOf, readDuration, wrong } from "./values.ts"

const SOURCES = ["pinned", "profile", "wkd"] as const

export function readKeys(document: Document): KeysConfig {
  const keys: KeysConfig = {
    sources: document.optional("keys.sources", readSources, ["pinned"]),
    timeoutMs: document.optional("keys.timeout", readDuration, 3e3),
    keepFoundMs: document.optional("keys.keep", readDuration, 86_400e3),
    keepNoneMs: document.optional("keys.keepNone", readDuration, 3_600e3),
  }
  if (keys.timeoutMs > MAX_TIMEOUT_MS) document.mistake("keys.timeout", "is over 30s: senders wait for it")
  return keys
}

function readSources(value: unknown): KeysConfig["sources"] {
  if (!Array.isArray(value)) throw wrong(`a list of ${SOURCES.map((name) => `"${name}"`).join(", ")}`)
  return [...new Set(value.map(oneOf(...SOURCES)))]
}

const MAX_TIMEOUT_MS = 30_000
