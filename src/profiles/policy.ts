/** PURE. What an administrator wants of leaving mail: which words hold for one message to one recipient, and which rule says so. */
import { type Address, addressKey } from "../message/address.ts"
import type { KeyFormat, Trust } from "./key.ts"

/** What is wanted for one message to one recipient. */
export interface Policy {
  /** `require`: encrypted, or `otherwise`. `prefer`: encrypted where a key is known, unless its holder would rather not. `off`: as it came. */
  readonly encrypt: "require" | "prefer" | "off"
  readonly sign: "require" | "prefer" | "off"
  /** Which forms of encryption count; earlier ones are taken where a recipient has keys of equal trust. `tls`: in clear over verified TLS. */
  readonly methods: readonly Method[]
  /** What becomes of a message for which no method is left. `tls`: sent over verified TLS or not at all. */
  readonly otherwise: "hold" | "refuse" | "tls" | "send"
  /** Keys of sources that are believed less are not used. */
  readonly minTrust: Trust
  /** A source gives no answer. `send`: as if it had no key, where nobody at the recipient's domain ever had one and encryption is not demanded. */
  readonly silence: "wait" | "send"
  /** An address that had keys has none any more. `forget`: as if it never had one. */
  readonly lostKeys: "hold" | "forget"
  /** An address has another key, which neither the old one nor an authority vouches for. */
  readonly changedKeys: "hold" | "use"
  /**
   * Header fields of an encrypted message (RFC 9788): `hidden`: the subject stands inside only; `shown`: inside and outside; `off`: not marked inside.
   * `auto`: hidden in OpenPGP, shown in S/MIME, whose programs do not show a subject from inside yet.
   */
  readonly headers: "auto" | "hidden" | "shown" | "off"
  /** OpenPGP as PGP/MIME, or as text within the body. */
  readonly pgp: "mime" | "inline"
  /**
   * Mail that a client has encrypted to a certificate of this gateway's ({@link meantEncrypted}): what at least it is sent with. `encryption`: to a key of
   * the recipient's, or it is held. `tls`: over verified TLS where there is no key. `send`: as it would be had it come in clear. `never`: such
   * certificates are not given out, and it is held.
   */
  readonly standIn: "never" | "encryption" | "tls" | "send"
}

export type Method = KeyFormat | "tls"

/** Words that a rule can state. */
export type PolicyWord = keyof Policy

/** A condition and what holds where it is met. A rule without conditions is met by every message. */
export interface PolicyRule {
  /** For people. */
  readonly name: string
  /** Met by any of these senders; null: by all. */
  readonly from: readonly AddressPattern[] | null
  /** Met by any of these recipients; null: by all. */
  readonly to: readonly AddressPattern[] | null
  /** Stands in the subject, whatever its case, as `[secure]`; null: need not. */
  readonly subjectTag: string | null
  /** The tag stays in the subject of what leaves. */
  readonly keepsTag: boolean
  /** Any of these values of the Sensitivity field (RFC 2156 §5.3.4), lower case; null: need not. */
  readonly sensitivity: readonly string[] | null
  /** A field with this name, lower case, whose text contains this, whatever its case; null: need not. */
  readonly header: { readonly name: string; readonly contains: string } | null
  readonly words: Partial<Policy>
}

/** `alice@example.org`, `*@example.org`, or `*@*.example.org` for every domain below it. */
export interface AddressPattern {
  /** As {@link addressKey} writes it; null: any local part. */
  readonly address: string | null
  readonly domain: string
  readonly below: boolean
}

/** Everything an administrator says of leaving mail. */
export interface PolicyRules {
  /** Holds where no rule says otherwise. */
  readonly base: Policy
  /** For each word the first rule that is met and states it. */
  readonly rules: readonly PolicyRule[]
}

/** What rules look at. */
export interface MessageFacts {
  /** null: a report of ours. */
  readonly sender: Address | null
  readonly recipient: Address
  /** Decoded; empty: there is none. */
  readonly subject: string
  /** Text of every field with this name, lower case. */
  fields(name: string): readonly string[]
}

/** The policy of a message, and which rule states each word; null: none does, it is the base's. */
export interface StatedPolicy {
  readonly policy: Policy
  readonly statedBy: Readonly<Record<PolicyWord, string | null>>
  /** What is taken out of the subject of what leaves: tags of the rules that are met. */
  readonly tags: readonly string[]
}

export function policyFor(facts: MessageFacts, { base, rules }: PolicyRules): StatedPolicy {
  const met = rules.filter((rule) => isMet(rule, facts))
  const words = Object.keys(base) as PolicyWord[]
  const stating = (word: PolicyWord) => met.find((rule) => rule.words[word] !== undefined)
  const stated = Object.fromEntries(
    words.map((word) => [word, stating(word)?.words[word] ?? base[word]]),
  ) as unknown as Policy
  const statedBy = Object.fromEntries(words.map((word) => [word, stating(word)?.name ?? null]))
  const tags = met.flatMap(({ subjectTag, keepsTag }) => (subjectTag === null || keepsTag ? [] : [subjectTag]))
  return { policy: closed(stated), statedBy: statedBy as StatedPolicy["statedBy"], tags: tags.filter(isTag) }
}

/** Other texts are words of a subject, and not only there to be seen by us. */
function isTag(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text)
}

/** The policy of a message that its sender has encrypted for the gateway to open: what he meant to be encrypted does not leave with less than its words allow. */
export function meantEncrypted(stated: StatedPolicy): StatedPolicy {
  const { policy, statedBy } = stated
  if (policy.standIn === "send") return stated
  const isTlsEnough = policy.standIn === "tls"
  const methods = policy.methods.filter((method) => method !== "tls" || isTlsEnough)
  const isLess = policy.otherwise === "send" || (policy.otherwise === "tls" && !isTlsEnough)
  const otherwise = !isLess ? policy.otherwise : isTlsEnough ? "tls" : "hold"
  const by = isLess ? statedBy.standIn : statedBy.otherwise
  return {
    ...stated,
    policy: { ...policy, encrypt: "require", methods, otherwise },
    statedBy: { ...statedBy, otherwise: by },
  }
}

/** The policy of a message that its recipient is to get encrypted, or not until he has a key: no rule sends it in clear. */
export function onlyEncrypted(stated: StatedPolicy): StatedPolicy {
  const { policy, statedBy } = withoutMethod(stated, "tls")
  return {
    ...stated,
    policy: { ...policy, encrypt: "require", otherwise: "hold" },
    statedBy: { ...statedBy, encrypt: null, otherwise: null },
  }
}

/** Words of several rules may meet: what one demands to be encrypted no other sends in clear. */
function closed(policy: Policy): Policy {
  return policy.encrypt === "require" && policy.otherwise === "send" ? { ...policy, otherwise: "hold" } : policy
}

/** The policy where a method cannot be used, whatever keys there are. */
export function withoutMethod(stated: StatedPolicy, method: Method): StatedPolicy {
  const { policy } = stated
  if (!policy.methods.includes(method)) return stated
  return { ...stated, policy: { ...policy, methods: policy.methods.filter((one) => one !== method) } }
}

/** False where no message is ever refused. */
export function mayRefuse({ base, rules }: PolicyRules): boolean {
  return base.otherwise === "refuse" || rules.some(({ words }) => words.otherwise === "refuse")
}

/** Whether all conditions of a rule are met. */
export function isMet(rule: PolicyRule, facts: MessageFacts): boolean {
  return (
    (rule.from === null || (facts.sender !== null && isAmong(facts.sender, rule.from))) &&
    (rule.to === null || isAmong(facts.recipient, rule.to)) &&
    (rule.subjectTag === null || contains(facts.subject, rule.subjectTag)) &&
    (rule.sensitivity === null || hasSensitivity(facts, rule.sensitivity)) &&
    (rule.header === null || hasField(facts, rule.header))
  )
}

function isAmong(address: Address, patterns: readonly AddressPattern[]): boolean {
  return patterns.some(({ address: exact, domain, below }) => {
    if (exact !== null) return exact === addressKey(address)
    return below ? address.domain.endsWith(`.${domain}`) : address.domain === domain
  })
}

function hasSensitivity(facts: MessageFacts, wanted: readonly string[]): boolean {
  return facts.fields("sensitivity").some((value) => wanted.includes(value.trim().toLowerCase()))
}

function hasField(facts: MessageFacts, { name, contains: text }: NonNullable<PolicyRule["header"]>): boolean {
  return facts.fields(name).some((value) => contains(value, text))
}

function contains(text: string, part: string): boolean {
  return text.toLowerCase().includes(part.toLowerCase())
}
