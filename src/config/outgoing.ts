/** PURE. [policy] of postern.toml, as far as it is about leaving mail: words for all mail, groups, and rules. */
import { TRUST } from "../profiles/key.ts"
import type { AddressPattern, Method, Policy, PolicyRule, PolicyRules, PolicyWord } from "../profiles/policy.ts"
import type { Document } from "./document.ts"
import { oneOf, readAddress, readDomain, readFlag, readText, wrong } from "./values.ts"

type Groups = ReadonlyMap<string, readonly AddressPattern[]>

export function readOutgoing(document: Document): PolicyRules {
  const groups = readGroups(document)
  const words = readWords(document, "policy")
  refuseContradiction(document, "policy", words)
  const base: Policy = { ...DEFAULT_POLICY, otherwise: words.encrypt === "require" ? "hold" : "send", ...words }
  const rules = document.tables("policy.rules").map((at, index) => readRule(document, at, index, groups))
  return { base, rules }
}

/** Encrypts where a key is known, and says no more. */
const DEFAULT_POLICY: Policy = {
  encrypt: "prefer",
  sign: "off",
  methods: ["mesh", "smime", "openpgp"],
  otherwise: "send",
  minTrust: "keyserver",
  silence: "wait",
  lostKeys: "hold",
  changedKeys: "hold",
  headers: "auto",
  pgp: "mime",
  standIn: "tls",
}

const READERS: { readonly [Word in PolicyWord]: (value: unknown) => Policy[Word] } = {
  encrypt: oneOf("require", "prefer", "off"),
  sign: oneOf("require", "prefer", "off"),
  methods: readMethods,
  otherwise: oneOf("hold", "refuse", "tls", "send"),
  minTrust: oneOf(...TRUST),
  silence: oneOf("wait", "send"),
  lostKeys: oneOf("hold", "forget"),
  changedKeys: oneOf("hold", "use"),
  headers: oneOf("auto", "hidden", "shown", "off"),
  pgp: oneOf("mime", "inline"),
  standIn: oneOf("never", "encryption", "tls", "send"),
}

function readWords(document: Document, at: string): Partial<Policy> {
  const found = (Object.keys(READERS) as PolicyWord[]).flatMap((word) => {
    const value = document.optional<Policy[PolicyWord] | null>(`${at}.${word}`, READERS[word], null)
    return value === null ? [] : [[word, value] as const]
  })
  return Object.fromEntries(found)
}

function readMethods(value: unknown): readonly Method[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong('a list of "mesh", "smime", "openpgp", "tls"')
  const methods = value.map(oneOf("mesh", "smime", "openpgp", "tls"))
  if (new Set(methods).size < methods.length) throw wrong("a list in which nothing stands twice")
  return methods
}

function readGroups(document: Document): Groups {
  const names = document.keys("policy.groups")
  return new Map(
    names.map((name) => [
      name,
      document.optional(`policy.groups.${name}`, (value) => patternsOf(value, NO_GROUPS), []),
    ]),
  )
}

function readRule(document: Document, at: string, index: number, groups: Groups): PolicyRule {
  const patterns = (value: unknown) => patternsOf(value, groups)
  const headerName = document.optional<string | null>(`${at}.header`, readFieldName, null)
  const headerText = document.optional<string | null>(`${at}.contains`, readText, null)
  if ((headerName === null) !== (headerText === null))
    document.mistake(
      `${at}.${headerName === null ? "header" : "contains"}`,
      "is missing: header and contains belong together",
    )
  const words = readWords(document, at)
  const subjectTag = document.optional<string | null>(`${at}.subjectTag`, readText, null)
  const keepsTag = document.optional(`${at}.keepTag`, readFlag, false)
  if (keepsTag && subjectTag === null) document.mistake(`${at}.keepTag`, "needs a subjectTag")
  refuseContradiction(document, at, words)
  if (Object.keys(words).length === 0)
    document.mistake(at, `says nothing: state one of ${Object.keys(READERS).join(", ")}`)
  return {
    name: document.optional(`${at}.name`, readText, `rule ${index + 1}`),
    from: document.optional<readonly AddressPattern[] | null>(`${at}.from`, patterns, null),
    to: document.optional<readonly AddressPattern[] | null>(`${at}.to`, patterns, null),
    subjectTag,
    keepsTag,
    sensitivity: document.optional<readonly string[] | null>(`${at}.sensitivity`, readSensitivities, null),
    header: headerName === null || headerText === null ? null : { name: headerName, contains: headerText },
    words,
  }
}

/** Sending in clear where encryption is demanded: somebody would believe the one word and get the other. */
function refuseContradiction(document: Document, at: string, { encrypt, otherwise }: Partial<Policy>): void {
  if (encrypt === "require" && otherwise === "send")
    document.mistake(`${at}.otherwise`, '"send" contradicts encrypt = "require": say "prefer", or hold, refuse or tls')
}

function patternsOf(value: unknown, groups: Groups): readonly AddressPattern[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong(PATTERNS)
  return value.flatMap((one) => patternOf(one, groups))
}

function patternOf(value: unknown, groups: Groups): readonly AddressPattern[] {
  if (typeof value !== "string") throw wrong(PATTERNS)
  if (value.startsWith("group:")) {
    const group = groups.get(value.slice("group:".length))
    if (group === undefined) throw wrong(`a group of policy.groups where it says "${value}"`)
    return group
  }
  if (value.startsWith("*@*.")) return [{ address: null, domain: readDomain(value.slice(4)), below: true }]
  if (value.startsWith("*@")) return [{ address: null, domain: readDomain(value.slice(2)), below: false }]
  const address = readAddress(value)
  return [{ address, domain: address.slice(address.lastIndexOf("@") + 1), below: false }]
}

// RFC 2156 §5.3.4 and what clients write: Personal, Private, Company-Confidential.
function readSensitivities(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length === 0)
    throw wrong('a list of words such as "private", "company-confidential"')
  return value.map((one) => readText(one).toLowerCase())
}

// RFC 5322 §3.6.8
function readFieldName(value: unknown): string {
  const name = readText(value).toLowerCase()
  if (!/^[\x21-\x39\x3b-\x7e]+$/.test(name)) throw wrong("the name of a header field")
  return name
}

const PATTERNS = 'a list such as "alice@example.org", "*@example.org", "*@*.example.org" or "group:board"'
const NO_GROUPS: Groups = new Map()
