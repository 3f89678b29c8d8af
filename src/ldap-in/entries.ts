/** PURE. The entries of the directory: one for each address that has a certificate, made when somebody asks for that address. */
import { writeCertificateBag } from "../crypto/cms/certificate-bag.ts"
import { sequence, setOf, TAG, tagged } from "../crypto/cms/der.ts"
import { GatewayError } from "../errors.ts"
import { type Address, addressKey, formatAddress, parseAddress } from "../message/address.ts"
import type { Filter } from "../net/ldap-filter.ts"
import { ldapString, OPERATION, START_TLS } from "../net/ldap-message.ts"
import type { Found } from "./ports.ts"
import type { SearchRequest } from "./requests.ts"

type Substrings = Extract<Filter, { kind: "substrings" }>

export interface Attribute {
  readonly name: string
  readonly values: readonly Uint8Array[]
}

export interface Entry {
  readonly dn: string
  readonly attributes: readonly Attribute[]
}

/**
 * The addresses that a filter names, of which alone an entry can match: `mail=…` whole, and whole with anything around it, as Outlook and Thunderbird
 * ask while somebody writes. At most {@link MAX_ADDRESSES}.
 */
export function addressesIn(filter: Filter): readonly Address[] {
  const named = new Map(
    valuesOf(filter)
      .slice(0, MAX_ADDRESSES * 2)
      .flatMap(addressOf)
      .map((address) => [addressKey(address), address]),
  )
  return [...named.values()].slice(0, MAX_ADDRESSES)
}

/** inetOrgPerson (RFC 2798); the certificate stands in both attributes that clients look at. */
export function entryOf(address: Address, { name, certificates, chain }: Found, base: string): Entry {
  const mail = formatAddress(address)
  const cn = name ?? mail
  return {
    dn: `mail=${escapedValue(mail)},${base}`,
    attributes: [
      { name: "objectClass", values: ["top", "person", "organizationalPerson", "inetOrgPerson"].map(utf8) },
      { name: "cn", values: [utf8(cn)] },
      { name: "sn", values: [utf8(cn.split(" ").at(-1) || cn)] },
      { name: "displayName", values: [utf8(cn)] },
      { name: "mail", values: [utf8(mail)] },
      { name: "userCertificate;binary", values: certificates },
      {
        name: "userSMIMECertificate",
        values: certificates.slice(0, 1).map((own) => writeCertificateBag([own, ...chain])),
      },
    ],
  }
}

/** RFC 4512 §5.1: what a client asks first. */
export function rootEntry(base: string, isSecure: boolean): Entry {
  return {
    dn: "",
    attributes: [
      { name: "objectClass", values: [utf8("top")] },
      { name: "namingContexts", values: [utf8(base)] },
      { name: "supportedLDAPVersion", values: [utf8("3")] },
      { name: "supportedExtension", values: isSecure ? [] : [utf8(START_TLS)] },
    ],
  }
}

/** RFC 4511 §4.5.1.7: true, false, or neither (null), which is what a filter is about attributes that are not known here. */
export function matches(filter: Filter, entry: Entry): boolean | null {
  switch (filter.kind) {
    case "and": {
      const all = filter.filters.map((one) => matches(one, entry))
      return all.includes(false) ? false : all.includes(null) ? null : true
    }
    case "or": {
      const all = filter.filters.map((one) => matches(one, entry))
      return all.includes(true) ? true : all.includes(null) ? null : false
    }
    case "not": {
      const inner = matches(filter.filter, entry)
      return inner === null ? null : !inner
    }
    case "present":
      return valuesIn(entry, filter.attribute).length > 0
    case "equal":
      return compare(entry, filter.attribute, (value) => value === folded(filter.value))
    case "substrings":
      return compare(entry, filter.attribute, (value) => hasParts(value, filter))
    case "other":
      return null
  }
}

/** SearchResultEntry (RFC 4511 §4.5.2) with what was asked for: nothing in particular or `*` is everything, `1.1` nothing. */
export function writeEntry({ dn, attributes }: Entry, { attributes: wanted, typesOnly }: SearchRequest): Uint8Array {
  const isAll = wanted.length === 0 || wanted.includes("*")
  const names = new Set(wanted.map(baseName))
  const shown = attributes.filter(({ name, values }) => values.length > 0 && (isAll || names.has(baseName(name))))
  const written = shown.map(({ name, values }) => {
    const octets = typesOnly ? [] : values.map((value) => tagged(TAG.octetString, value))
    return sequence(ldapString(nameFor(name, wanted)), setOf(...octets))
  })
  return tagged(OPERATION.searchEntry, ldapString(dn), sequence(...written))
}

/** Whether two distinguished names are written alike, but for case and blanks around commas and signs. */
export function sameDn(a: string, b: string): boolean {
  return canonicalDn(a) === canonicalDn(b)
}

function canonicalDn(dn: string): string {
  return dn
    .trim()
    .toLowerCase()
    .replace(/ *([,=+]) */g, "$1")
}

/** Clients look for attributes by the name that they asked with (RFC 4522 for `;binary`). */
function nameFor(name: string, wanted: readonly string[]): string {
  return wanted.find((one) => baseName(one) === baseName(name) && one !== "*") ?? name
}

function valuesOf(filter: Filter): readonly Uint8Array[] {
  switch (filter.kind) {
    case "and":
    case "or":
      return filter.filters.flatMap(valuesOf)
    case "equal":
      return baseName(filter.attribute) === "mail" ? [filter.value] : []
    case "substrings":
      return baseName(filter.attribute) === "mail" ? partsOf(filter) : []
    case "not":
    case "present":
    case "other":
      return []
  }
}

function partsOf({ initial, any, final }: Substrings): readonly Uint8Array[] {
  return [initial, ...any, final].filter((part) => part !== null)
}

function addressOf(value: Uint8Array): readonly Address[] {
  try {
    return [parseAddress(Buffer.from(value).toString("utf8"))]
  } catch (error) {
    if (error instanceof GatewayError) return []
    throw error
  }
}

function compare(entry: Entry, attribute: string, fits: (value: string) => boolean): boolean | null {
  const values = valuesIn(entry, attribute)
  if (values.length === 0) return null
  return values.some((value) => fits(folded(value)))
}

/** The parts in this order, none over another. */
function hasParts(value: string, { initial, any, final }: Substrings): boolean {
  const [first, last] = [folded(initial ?? NOTHING), folded(final ?? NOTHING)]
  if (!value.startsWith(first) || !value.endsWith(last) || value.length < first.length + last.length) return false
  const end = value.length - last.length
  let at = first.length
  for (const part of any.map(folded)) {
    const found = value.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}

function valuesIn({ attributes }: Entry, attribute: string): readonly Uint8Array[] {
  return attributes.find(({ name }) => baseName(name) === baseName(attribute))?.values ?? []
}

/** RFC 4518, as far as it matters here: without case. */
function folded(value: Uint8Array): string {
  return Buffer.from(value).toString("utf8").toLowerCase()
}

function baseName(description: string): string {
  return (description.split(";")[0] ?? "").toLowerCase()
}

/** RFC 4514 §2.4. */
function escapedValue(text: string): string {
  return text.replace(/[\\",+;<>=]/g, "\\$&").replace(/^[ #]| $/g, "\\$&")
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

const NOTHING = new Uint8Array()
/** Recipients of one message; each is looked for in every source. */
export const MAX_ADDRESSES = 20
