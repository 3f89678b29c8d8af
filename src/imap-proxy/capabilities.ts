/**
 * What a client is offered: this list, as far as the upstream has it. An allow-list, since any extension we have not read could carry
 * message data past the patch. docs/IMAP.md has the reason for each that is left out; commands/ refuses what is sent all the same.
 */
const OFFERED: ReadonlySet<string> = new Set([
  "ACL",
  "APPENDLIMIT",
  "CHILDREN",
  "CONDSTORE",
  "CREATE-SPECIAL-USE",
  "ENABLE",
  "ESEARCH",
  "ESORT",
  "I18NLEVEL=1",
  "ID",
  "IDLE",
  "LIST-EXTENDED",
  "LIST-MYRIGHTS",
  "LIST-STATUS",
  "MOVE",
  "MULTIAPPEND",
  "NAMESPACE",
  "OBJECTID",
  "QRESYNC",
  "QUOTA",
  "QUOTASET",
  "SAVEDATE",
  "SEARCHRES",
  "SORT",
  "SORT=DISPLAY",
  "SPECIAL-USE",
  "STATUS=SIZE",
  "UIDPLUS",
  "UNSELECT",
  "WITHIN",
])
const OFFERED_FAMILIES: readonly string[] = ["APPENDLIMIT=", "QUOTA=RES-", "RIGHTS=", "THREAD="]

/**
 * How a client can log in: not before TLS; by password; by its certificate, or by password as well; not at all, since it has shown no
 * certificate that we know. Clients (K-9) take a missing AUTH=EXTERNAL for "certificate not accepted".
 */
export type LoginChoice = "afterTls" | "password" | "certificate" | "none"

/** Before login; STARTTLS and LOGINDISABLED until TLS is there (RFC 9051 §6.2.1, §11.1). */
export function greetingCapabilities(choice: LoginChoice): string {
  return `IMAP4rev1 LITERAL+ SASL-IR ID ${LOGIN_CAPABILITIES[choice]}`
}

const LOGIN_CAPABILITIES: Readonly<Record<LoginChoice, string>> = {
  afterTls: "STARTTLS LOGINDISABLED",
  password: "AUTH=PLAIN AUTH=LOGIN",
  certificate: "AUTH=EXTERNAL AUTH=PLAIN AUTH=LOGIN",
  none: "LOGINDISABLED",
}

/**
 * After login: what the upstream has and we know, and LITERAL+, which the proxy itself does: it takes every literal and sends what is
 * stored as one of its own. Not LITERAL- (RFC 7888 §5: never both): a message streams with back-pressure whatever its size, so a round
 * trip less for each upload costs no memory; what it costs is to pass over the octets of one that is refused.
 */
export function offeredCapabilities(upstream: readonly string[]): string {
  const kept = upstream.filter((word) => isOffered(word.toUpperCase()))
  return ["IMAP4rev1", "LITERAL+", ...kept].join(" ")
}

function isOffered(name: string): boolean {
  return OFFERED.has(name) || OFFERED_FAMILIES.some((family) => name.startsWith(family))
}

/** Extensions a client may ENABLE (RFC 5161): those that change nothing about where message data stands. */
export const ENABLED: readonly string[] = ["CONDSTORE", "QRESYNC"]
