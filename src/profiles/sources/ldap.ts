import { GatewayError } from "../../errors.ts"
import { type Address, formatAddress } from "../../message/address.ts"
import { LdapConnection, type LdapLogin, type LdapServer, type SearchAnswer } from "../../net/ldap-client.ts"
import { type Filter, mapValues, parseFilter } from "../../net/ldap-filter.ts"
import { RESULT, resultName } from "../../net/ldap-message.ts"
import { KEY_ATTRIBUTES, readEntryKeys } from "../directory-entry.ts"
import type { KeyCandidate, KeySource, SourceAnswer } from "../key.ts"

/** An LDAP directory that an administrator named. */
export interface LdapDirectory {
  /** What it is called in diagnosis. */
  readonly name: string
  /** Whose addresses it knows: domains in lower-case A-labels; with "*." in front: those below it; "*": all. */
  readonly domains: readonly string[]
  readonly server: LdapServer
  /** null: anonymous. The password is read anew for each connection, so that it can change. */
  readonly login: { readonly dn: string; readonly password: () => string } | null
  /** Distinguished name under which is searched; "" for all that the server has, where it knows such a thing (Active Directory's global catalogue; not OpenLDAP). */
  readonly base: string
  /** With `{address}`, `{local}` and `{domain}` in its values; null: {@link ANY_MAIL_FILTER}. */
  readonly filter: string | null
}

/** The mail address of people (RFC 4524 §2.16), and where GnuPG's schema has it. */
export const ANY_MAIL_FILTER = "(|(mail={address})(gpgMailbox={address}))"

/**
 * Certificates and OpenPGP keys of a directory. One connection is kept and made anew when it is gone. Everything but success is no answer: servers that
 * are busy, do not let us in, do not have the base, or send us to another one (which is not followed: nobody vouches for it).
 * @throws GatewayError PROTOCOL when its filter is none
 */
export function ldapSource(directory: LdapDirectory): KeySource & Disposable {
  const filter = parseFilter(directory.filter ?? ANY_MAIL_FILTER)
  const connections = new KeptConnection(directory)
  return {
    name: `ldap ${directory.name}`,
    trust: "directory",
    async lookup(address, signal) {
      if (!isFor(directory.domains, address.domain)) return null
      const asked = requestOf(directory, filledIn(filter, address))
      return answerOf(directory, await attempt(directory, () => connections.search(asked, signal)))
    },
    [Symbol.dispose]: () => connections[Symbol.dispose](),
  }
}

/** A connection that is there when it is needed. */
class KeptConnection implements Disposable {
  readonly #directory: LdapDirectory
  #kept: LdapConnection | null = null

  constructor(directory: LdapDirectory) {
    this.#directory = directory
  }

  async search(asked: Parameters<LdapConnection["search"]>[0], signal: AbortSignal): Promise<SearchAnswer> {
    const kept = this.#kept
    if (kept?.isOpen) {
      try {
        return await kept.search(asked, signal)
      } catch (error) {
        // Servers close what was silent for a while, which is seen with the next question only.
        if (kept.isOpen || signal.aborted) throw error
      }
    }
    return await (await this.#open(signal)).search(asked, signal)
  }

  async #open(signal: AbortSignal): Promise<LdapConnection> {
    const { server, login } = this.#directory
    const fresh = await LdapConnection.open(server, login && loginOf(login), signal)
    const other = this.#kept
    if (other?.isOpen) {
      // Somebody else was as quick.
      fresh[Symbol.dispose]()
      return other
    }
    this.#kept = fresh
    return fresh
  }

  [Symbol.dispose](): void {
    this.#kept?.[Symbol.dispose]()
    this.#kept = null
  }
}

function loginOf({ dn, password }: NonNullable<LdapDirectory["login"]>): LdapLogin {
  return { dn, password: password() }
}

function isFor(domains: readonly string[], domain: string): boolean {
  return domains.some((one) => one === "*" || one === domain || (one.startsWith("*.") && domain.endsWith(one.slice(1))))
}

function requestOf({ base }: LdapDirectory, filter: Filter): Parameters<LdapConnection["search"]>[0] {
  return { base, filter, attributes: KEY_ATTRIBUTES, maxEntries: MAX_ENTRIES, maxSeconds: MAX_SECONDS }
}

/** An address becomes part of values only, whatever characters are in it: there is nothing to escape (RFC 4515 §3 is for text). */
function filledIn(filter: Filter, address: Address): Filter {
  const words: Readonly<Record<string, string>> = {
    "{address}": formatAddress(address),
    "{local}": address.localPart,
    "{domain}": address.domain,
  }
  return mapValues(filter, (value) => {
    const text = Buffer.from(value).toString("latin1")
    const utf8 = (word: string): string => Buffer.from(words[word] ?? "", "utf8").toString("latin1")
    return new Uint8Array(Buffer.from(text.replace(/\{(?:address|local|domain)\}/g, utf8), "latin1"))
  })
}

async function attempt<T>({ name }: LdapDirectory, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (cause) {
    throw silent(name, cause instanceof Error ? cause.message : "unknown", cause)
  }
}

function answerOf({ name, base }: LdapDirectory, { code, entries, references }: SearchAnswer): SourceAnswer {
  const isCut = code === RESULT.sizeLimitExceeded && entries.length > 0
  // A missing person is a success without entries (RFC 4511 §4.5.2). This is about the base, also where access rules hide it.
  if (code === RESULT.noSuchObject)
    throw silent(name, `it has no entry "${base}", or hides it: say where people are (base)`)
  if (code !== RESULT.success && !isCut) throw silent(name, `the server says ${resultName(code)}`)
  const read = entries.slice(0, MAX_ENTRIES).map((entry) => ({ place: printable(entry.dn), ...readEntryKeys(entry) }))
  return {
    candidates: read.flatMap(({ place, keys }) =>
      keys.map(
        (key): KeyCandidate => ({
          ...key,
          ...(key.format === "smime" ? { anchors: [key.octets] } : {}),
          source: `ldap ${name}`,
          trust: "directory",
          place,
          wish: null,
          lineage: null,
        }),
      ),
    ),
    remarks: [
      ...read.flatMap(({ place, remarks }) => remarks.map((remark) => `${place}: ${remark}`)),
      ...(isCut || entries.length > MAX_ENTRIES
        ? [`${name} has more entries for this address than were looked at`]
        : []),
      ...(references > 0 ? [`${name} names ${references} other servers, which are not asked`] : []),
    ],
  }
}

/** A name goes to terminals. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "?")
}

function silent(name: string, why: string, cause?: unknown): GatewayError {
  return new GatewayError("KEY_SOURCE_SILENT", `ldap ${name}: ${why}`, { cause })
}

/** An address has one entry; with shared mailboxes and old ones, some. */
export const MAX_ENTRIES = 16
/** RFC 4511 §4.5.1.5; the caller's signal ends waiting, this ends the server's work. */
const MAX_SECONDS = 10
