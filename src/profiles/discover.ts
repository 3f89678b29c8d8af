import { sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { type Address, addressKey, formatAddress } from "../message/address.ts"
import type {
  Judged,
  KeyCandidate,
  KeySource,
  RejectedKey,
  Revocations,
  SourceAnswer,
  Trust,
  UsableKey,
} from "./key.ts"
import { Remembering } from "./remembering.ts"
import type { RememberedKey, Resolution, SourceReport } from "./resolution.ts"

/** What a source said, and when. */
export interface KeptAnswer {
  readonly answer: SourceAnswer
  readonly askedAt: Date
}

/**
 * Answers that outlive the process, by the address as it is written: sources may tell its spellings apart (DANE hashes the local part as it
 * stands), so that "none" for one says nothing of another.
 */
export interface KeptAnswers {
  find(address: string, source: string): KeptAnswer | null
  keep(address: string, source: string, kept: KeptAnswer): void
}

/** Keys that mail to addresses was encrypted to. */
export interface KeyMemory {
  of(address: string): readonly RememberedKey[]
  /** How far those were believed who gave keys of anybody at this domain. */
  trustsOf(domain: string): readonly Trust[]
  saw(address: string, keys: readonly UsableKey[], at: Date): void
}

export interface DiscoveryOptions {
  /** Asked at the same time. */
  readonly sources: readonly KeySource[]
  readonly judge: (candidate: KeyCandidate, address: Address, at: Date) => Promise<Judged>
  readonly answers: KeptAnswers
  readonly memory: KeyMemory
  /** How long an answer with keys holds; after half of it the source is asked again, and the old answer holds while it is. */
  readonly keepFoundMs: number
  /** How long an answer without keys holds. */
  readonly keepNoneMs: number
  /** What one source may take. */
  readonly timeoutMs: number
  readonly now: () => Date
  /** What sources hold open. */
  readonly stack?: Disposable
}

/** Who a recipient is, by everybody who may know it. */
export class Discovery implements Disposable {
  readonly #options: DiscoveryOptions
  /** Recipients that were resolved a moment ago: all messages of a burst are decided by one look. */
  #recent: Remembering<Resolution>
  readonly #judged: Remembering<Judged>
  readonly #asking = new Map<string, Promise<Asked>>()
  /** Sources that said nothing are left alone for a while. */
  readonly #silent: Remembering<Asked>

  constructor(options: DiscoveryOptions) {
    this.#options = options
    this.#recent = noneRecent()
    this.#judged = new Remembering(MAX_RECENT, JUDGED_MS)
    this.#silent = new Remembering(MAX_RECENT, SILENT_MS)
  }

  /** Takes no longer than the slowest source may. Never throws for what sources do. */
  async resolve(address: Address): Promise<Resolution> {
    const written = formatAddress(address)
    const nowMs = this.#options.now().getTime()
    // What is forgotten meanwhile is not remembered by who has asked before.
    const recent = this.#recent
    const known = recent.find(written, nowMs)
    if (known !== null) return known
    return kept(recent, written, await this.#resolveNow(address), nowMs)
  }

  /**
   * Mail is encrypted to this one of its keys, which is what is remembered, under every name that a source has for it. Keys that were only seen
   * are not: what is put beside or in place of the one in use would be a known key the next time.
   */
  used({ address, keys }: Resolution, { format, fingerprint }: UsableKey): void {
    const same = keys.filter((key) => key.format === format && key.fingerprint === fingerprint)
    this.#options.memory.saw(address, same, this.#options.now())
  }

  /** Asks everybody, whatever is kept, and keeps what they say; for people who want to know, and where what is kept may be over. */
  async ask(address: Address): Promise<Resolution> {
    const nowMs = this.#options.now().getTime()
    const recent = this.#recent
    const asked = await Promise.all(this.#options.sources.map((source) => this.#askOnce(source, address)))
    return kept(recent, formatAddress(address), await this.#resolutionOf(address, asked), nowMs)
  }

  [Symbol.dispose](): void {
    this.#options.stack?.[Symbol.dispose]()
  }

  /** What all sources say, kept or asked, and not judged: to learn whose a signature is, a key need not be one that mail may be encrypted to. */
  async candidates(
    address: Address,
  ): Promise<{ readonly candidates: readonly KeyCandidate[]; readonly silent: boolean }> {
    const asked = await Promise.all(this.#options.sources.map((source) => this.#answerOf(source, address)))
    return {
      candidates: asked.flatMap(candidatesOf),
      silent: asked.some((one) => leavesOpen(one) !== null),
    }
  }

  /** Somebody changed what is known here. */
  forget(): void {
    this.#recent = noneRecent()
  }

  async #resolveNow(address: Address): Promise<Resolution> {
    const { sources } = this.#options
    const asked = await Promise.all(sources.map((source) => this.#answerOf(source, address)))
    const resolution = await this.#resolutionOf(address, asked)
    // Before it is said that there is no key, everybody is asked again: a new one may have taken the place of the one that is kept.
    if (resolution.keys.length > 0 || !asked.some(({ kept, answer }) => kept && (answer?.candidates.length ?? 0) > 0))
      return resolution
    return this.#resolutionOf(address, await Promise.all(sources.map((source) => this.#askOnce(source, address))))
  }

  async #answerOf(source: KeySource, address: Address): Promise<Asked> {
    if (source.isLocal) return this.#askOnce(source, address)
    const { answers, now } = this.#options
    const nowMs = now().getTime()
    const silent = this.#silent.find(questionOf(source, address), nowMs)
    const kept = answers.find(formatAddress(address), source.name)
    const age = kept === null ? Number.POSITIVE_INFINITY : nowMs - kept.askedAt.getTime()
    const keepMs = this.#keepMs(kept?.answer ?? null)
    const held: Asked | null =
      kept !== null && age >= 0 && age < keepMs
        ? { source, answer: kept.answer, kept: true, ms: 0, silence: null }
        : null
    if (held !== null) {
      // Not waited for: the old answer holds.
      if (age > keepMs / 2 && silent === null) void this.#askOnce(source, address)
      return held
    }
    return silent ?? this.#askOnce(source, address)
  }

  /** Those who want the same at the same time wait for one question. */
  #askOnce(source: KeySource, address: Address): Promise<Asked> {
    const question = questionOf(source, address)
    const running = this.#asking.get(question)
    if (running !== undefined) return running
    const asking = this.#askNow(source, address).finally(() => this.#asking.delete(question))
    this.#asking.set(question, asking)
    return asking
  }

  async #askNow(source: KeySource, address: Address): Promise<Asked> {
    const { answers, now, timeoutMs } = this.#options
    const begun = performance.now()
    const ms = () => Math.round(performance.now() - begun)
    const limit = AbortSignal.timeout(timeoutMs)
    try {
      const answer = await withinLimit(source.lookup(address, limit), limit)
      if (answer !== null && !source.isLocal)
        answers.keep(formatAddress(address), source.name, { answer, askedAt: now() })
      return { source, answer, kept: false, ms: ms(), silence: null }
    } catch (error) {
      const because = limit.aborted ? `no answer within ${timeoutMs / 1000} s` : messageOf(error)
      const asked: Asked = { source, answer: null, kept: false, ms: ms(), silence: because }
      this.#silent.keep(questionOf(source, address), asked, now().getTime())
      return asked
    }
  }

  async #resolutionOf(address: Address, asked: readonly Asked[]): Promise<Resolution> {
    const { memory, now } = this.#options
    const at = now()
    const key = addressKey(address)
    const candidates = asked.flatMap(candidatesOf)
    const judged = await Promise.all(candidates.map((candidate) => this.#judge(candidate, address, at)))
    const { keys, rejected } = withoutRevoked(judged)
    const undecided = judged.flatMap((one) =>
      one.kind === "undecided"
        ? [{ source: one.candidate.source, trust: one.candidate.trust, because: one.because }]
        : [],
    )
    const open = asked.flatMap((one) => {
      const because = leavesOpen(one)
      return because === null ? [] : [{ source: one.source.name, trust: one.source.trust, because }]
    })
    return {
      address: key,
      keys,
      rejected,
      unanswered: [...open, ...undecided],
      remembered: memory.of(key),
      domainTrusts: memory.trustsOf(address.domain),
      answers: asked.map(reportOf),
    }
  }

  /** Judging costs milliseconds: the same key for the same address is not judged again for a while. */
  async #judge(candidate: KeyCandidate, address: Address, at: Date): Promise<Judged> {
    const key = `${formatAddress(address)} ${identityOf(candidate)}`
    const known = this.#judged.find(key, at.getTime())
    if (known !== null && !isOver(known, at)) return known
    const judged = await this.#options.judge(candidate, address, at)
    if (judged.kind !== "undecided") this.#judged.keep(key, judged, at.getTime())
    return judged
  }

  #keepMs(answer: SourceAnswer | null): number {
    const { keepFoundMs, keepNoneMs } = this.#options
    return (answer?.candidates.length ?? 0) > 0 ? keepFoundMs : keepNoneMs
  }
}

/** What came of asking one source. */
interface Asked {
  readonly source: KeySource
  /** null: it is not for such addresses, or it was silent. */
  readonly answer: SourceAnswer | null
  readonly kept: boolean
  readonly ms: number
  /** Why there is no answer; null: there is one, or none was wanted. */
  readonly silence: string | null
}

/** What is revoked in one source's copy of a certificate is so in all: whoever runs another source may not have heard of it, or may keep it back. */
function withoutRevoked(judged: readonly Judged[]): Pick<Resolution, "keys" | "rejected"> {
  const usable = judged.flatMap((one) => (one.kind === "usable" ? [one.key] : []))
  const rejected: readonly RejectedKey[] = judged.flatMap((one) => (one.kind === "usable" ? [] : [one]))
  const revoked = usable.flatMap((candidate) => {
    const by = judged.find((one) => one.revoked && revokes(one.revoked, candidate))
    return by === undefined ? [] : [{ candidate, because: `${revokedText(by, candidate)}, as ${sourceOf(by)} says.` }]
  })
  const isRevoked = (key: UsableKey) => revoked.some(({ candidate }) => candidate === key)
  return { keys: usable.filter((key) => !isRevoked(key)), rejected: [...rejected, ...revoked] }
}

/** Whether a certificate has revoked itself, or a subkey that mail would be encrypted to. What it says of others is nothing to them. */
function revokes({ of, keys }: Revocations, key: UsableKey): boolean {
  if (key.format !== "openpgp" || of !== key.fingerprint) return false
  return keys.some((one) => one === key.fingerprint || key.subkeys?.includes(one))
}

function revokedText({ revoked }: Judged, { fingerprint }: UsableKey): string {
  return revoked?.keys.includes(fingerprint) ? "It was revoked" : "Its key for encryption was revoked"
}

function sourceOf(judged: Judged): string {
  return judged.kind === "usable" ? judged.key.source : judged.candidate.source
}

/** Those of one source that are looked at: whoever gives very many must not push out those of another. */
function candidatesOf({ answer }: Asked): readonly KeyCandidate[] {
  return answer?.candidates.slice(0, MAX_CANDIDATES) ?? []
}

/** Why it is not known what a source has; null: it is. */
function leavesOpen({ answer, silence }: Asked): string | null {
  const isCut = answer !== null && answer.candidates.length > MAX_CANDIDATES
  return silence ?? (isCut ? `over ${MAX_CANDIDATES} keys, and the others were not looked at` : null)
}

function reportOf({ source, answer, kept, ms, silence }: Asked): SourceReport {
  const outcome =
    silence !== null ? "silent" : answer === null ? "passed" : answer.candidates.length > 0 ? "found" : "none"
  const remarks = silence !== null ? [silence] : (answer?.remarks ?? [])
  return { source: source.name, trust: source.trust, outcome, kept, ms, remarks }
}

/** A source that does not heed the signal is not waited for either. */
async function withinLimit<T>(work: Promise<T>, limit: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const end = (): void => reject(new GatewayError("KEY_SOURCE_SILENT", "keys: time is over"))
  if (limit.aborted) end()
  limit.addEventListener("abort", end, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    limit.removeEventListener("abort", end)
    promise.catch(() => undefined)
    work.catch(() => undefined)
  }
}

function isOver(judged: Judged, at: Date): boolean {
  return judged.kind === "usable" && judged.until !== null && judged.until.getTime() <= at.getTime()
}

function questionOf(source: KeySource, address: Address): string {
  return `${source.name} ${formatAddress(address)}`
}

/** Everything that a verdict is made from or hands on: octets by their digests, which lists they stand in, and the words of its source. */
function identityOf({ octets, chain, anchors = [], capabilities, ...words }: KeyCandidate): string {
  const digests = [[octets], chain, anchors, capabilities === undefined ? [] : [capabilities]].map((list) =>
    list.map((one) => Buffer.from(sha256(one)).toString("base64")),
  )
  return JSON.stringify([digests, words])
}

/** The same; of what is not known whole nothing is kept. */
function kept(recent: Remembering<Resolution>, written: string, resolution: Resolution, nowMs: number): Resolution {
  if (resolution.unanswered.length === 0) recent.keep(written, resolution, nowMs)
  return resolution
}

function noneRecent(): Remembering<Resolution> {
  return new Remembering(MAX_RECENT, RECENT_MS)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Of one source; an address has one or two, and an entry of a directory those of many years. */
const MAX_CANDIDATES = 32
const MAX_RECENT = 10_000
const RECENT_MS = 30_000
const JUDGED_MS = 3_600_000
const SILENT_MS = 60_000
