import { type Addressee, addressees } from "../crypto/cms/recipient-infos.ts"
import { GatewayError } from "../errors.ts"
import type { StandIns } from "../identity/stand-ins.ts"
import type { Address } from "../message/address.ts"
import type { Envelope, Recipient } from "../message/envelope.ts"
import { EncryptionClassifier } from "../mime/classify.ts"
import { EnvelopeMessage } from "../mime/envelope-message.ts"
import { factsOf } from "../pipeline/leaving.ts"
import { decide } from "../profiles/decide.ts"
import type { Discovery } from "../profiles/discover.ts"
import { mayRefuse, meantEncrypted, type PolicyRules, policyFor } from "../profiles/policy.ts"
import type { Resolution } from "../profiles/resolution.ts"
import { HeaderCollector } from "../smtp-in/content.ts"
import type { Departures } from "../smtp-in/ports.ts"
import type { People } from "../store/people.ts"

/** What policy is asked with. */
interface Parts {
  readonly policy: PolicyRules
  readonly people: Pick<People, "resolve">
  readonly discovery: Pick<Discovery, "resolve">
  readonly standIns: Pick<StandIns, "find">
}

/** What policy refuses of leaving mail while its sender still waits for the reply; null where no rule ever refuses. */
export function departuresOf(parts: Parts): Departures | null {
  if (!mayRefuse(parts.policy)) return null
  return {
    begin(envelope, account) {
      const foreign = envelope.recipients.filter(({ address }) => parts.people.resolve(address).kind === "foreign")
      return foreign.length === 0 ? null : new Departure({ ...envelope, recipients: foreign }, account, parts)
    },
  }
}

/** One message on its way in, and those of its recipients who are elsewhere. */
class Departure {
  readonly #sender: Address | null
  readonly #asked: readonly { readonly recipient: Recipient; readonly resolution: Promise<Resolution> }[]
  readonly #account: string | null
  readonly #parts: Parts
  readonly #classifier = new EncryptionClassifier()
  readonly #collector = new HeaderCollector()
  #envelope: EnvelopeMessage | null = new EnvelopeMessage()
  #header: Uint8Array | null = null

  constructor({ sender, recipients }: Envelope, account: string | null, parts: Parts) {
    this.#sender = sender
    this.#account = account
    this.#parts = parts
    // Asked for while the message comes in.
    this.#asked = recipients.map((recipient) => ({
      recipient,
      resolution: parts.discovery.resolve(recipient.address),
    }))
  }

  push(octets: Uint8Array): void {
    this.#classifier.push(octets)
    this.#header ??= this.#collector.push(octets)
    this.#read((envelope) => envelope.push(octets))
  }

  async end(): Promise<string | null> {
    this.#header ??= this.#collector.end()
    const kind = this.#classifier.end()
    if (this.#header === null || kind === "openpgp") return null
    const reasons = kind === "clear" ? await this.#refused(null) : await this.#refused(this.#addressees())
    return reasons.length === 0 ? null : reasons.slice(0, MAX_NAMED).join("; ")
  }

  /** @param encryptedTo null: it is in clear. What its sender has encrypted leaves as it is, but for whom we open it. */
  async #refused(encryptedTo: readonly Addressee[] | null): Promise<readonly string[]> {
    const header = this.#header ?? new Uint8Array()
    const reasons = this.#asked.map(async ({ recipient: { address }, resolution }) => {
      if (encryptedTo !== null && !this.#opens(encryptedTo, address)) return []
      const said = policyFor(factsOf(this.#sender, address, header), this.#parts.policy)
      const stated = encryptedTo === null ? said : meantEncrypted(said)
      if (stated.policy.otherwise !== "refuse") return []
      const decision = decide(stated, await resolution)
      return decision.kind === "refuse" ? [decision.because] : []
    })
    return (await Promise.all(reasons)).flat()
  }

  /** What cannot be told now, delivery tells. */
  #opens(encryptedTo: readonly Addressee[], recipient: Address): boolean {
    const account = this.#account
    return account !== null && unlessUnreadable(() => this.#find(encryptedTo, account, recipient)) === true
  }

  #find(encryptedTo: readonly Addressee[], account: string, recipient: Address): boolean {
    return this.#parts.standIns.find(encryptedTo, account, recipient).kind === "key"
  }

  #addressees(): readonly Addressee[] {
    const head = this.#read((envelope) => envelope.end())
    return head === null ? [] : (unlessUnreadable(() => addressees(head.recipientInfos)) ?? [])
  }

  /** @returns null for a message of another kind */
  #read<T>(step: (envelope: EnvelopeMessage) => T): T | null {
    const envelope = this.#envelope
    if (envelope === null) return null
    try {
      return step(envelope)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.#envelope = null
      return null
    }
  }
}

function unlessUnreadable<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** Recipients that one reply names. */
const MAX_NAMED = 3
