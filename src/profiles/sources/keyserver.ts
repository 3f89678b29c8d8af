import { type Address, formatAddress } from "../../message/address.ts"
import { readRetryAfter } from "../../net/retry-after.ts"
import type { AskWeb } from "../../net/web.ts"
import type { KeySource, SourceAnswer } from "../key.ts"
import { MAX_OPENPGP_ANSWER_OCTETS, readOpenPgpAnswer } from "./openpgp-answer.ts"
import { askPlace, silence, whatIsThere } from "./places.ts"

/** A keyserver that an administrator named. */
export interface Keyserver {
  /** "host" or "host:port". */
  readonly host: string
  readonly ask: AskWeb
  readonly now: () => Date
}

/** Servers where anybody may publish: left alone for a while when they say that it is too much. */
export function keyserver(
  protocol: string,
  { host, ask, now }: Keyserver,
  path: (address: string) => string,
): KeySource {
  const name = `${protocol} ${host}`
  const asking = { source: name, ask, maxOctets: MAX_OPENPGP_ANSWER_OCTETS, isTrusted: true } as const
  let pausedUntil = new Date(0)
  return {
    name,
    trust: "keyserver",
    async lookup(address, signal) {
      if (address.domain.startsWith("[")) return null
      if (now() < pausedUntil) throw silence(name, `is not to be asked before ${pausedUntil.toISOString()}`)
      const answer = await askPlace(asking, new URL(path(formatAddress(address)), `https://${host}`), signal)
      // Whoever forges DNS must not make a keyserver one that has nothing.
      if (answer === null) throw silence(name, "has no address")
      if (answer.status === 429 || answer.status === 503) pausedUntil = pauseAfter(answer.retryAfter, now())
      const there = whatIsThere(name, answer)
      return there === null ? { candidates: [], remarks: [] } : found(there.body, address, name, there.url)
    },
  }
}

function found(body: Uint8Array, address: Address, source: string, url: URL): SourceAnswer {
  const { certificates, remarks } = readOpenPgpAnswer(body, formatAddress(address))
  return {
    candidates: certificates.map((octets) => ({
      format: "openpgp",
      octets,
      chain: [],
      source,
      trust: "keyserver",
      place: url.href,
      wish: null,
      lineage: null,
    })),
    remarks,
  }
}

function pauseAfter(retryAfter: string | null, now: Date): Date {
  const at = readRetryAfter(retryAfter ?? undefined, now)?.getTime() ?? now.getTime() + PAUSE_MS
  return new Date(Math.min(at, now.getTime() + MAX_PAUSE_MS))
}

/** Where it does not say how long. */
const PAUSE_MS = 60_000
/** One wrong header must not switch it off for a day. */
const MAX_PAUSE_MS = 3_600_000
