/**
 * What a client is offered: this list, as far as the upstream has it. An allow-list, since any extension we have not read could carry
 * message data past the patch. Left out on purpose: COMPRESS, CATENATE, MULTIAPPEND, URLAUTH, NOTIFY, BINARY, UTF8=ACCEPT, PREVIEW,
 * REPLACE, CONTEXT.
 */
const OFFERED: readonly string[] = [
  "IMAP4REV1",
  "IDLE",
  "NAMESPACE",
  "UIDPLUS",
  "CHILDREN",
  "SPECIAL-USE",
  "CREATE-SPECIAL-USE",
  "LIST-EXTENDED",
  "LIST-STATUS",
  "MOVE",
  "UNSELECT",
  "ID",
  "ENABLE",
  "CONDSTORE",
  "QRESYNC",
  "ESEARCH",
  "SEARCHRES",
  "WITHIN",
  "SORT",
  "SORT=DISPLAY",
  "QUOTA",
  "STATUS=SIZE",
  "I18NLEVEL=1",
]
const OFFERED_PREFIXES: readonly string[] = ["THREAD=", "APPENDLIMIT", "QUOTA=RES-"]

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

/** After login: what the upstream has and we know, and LITERAL+, which the proxy itself does. */
export function offeredCapabilities(upstream: readonly string[]): string {
  const kept = upstream.filter((word) => {
    const name = word.toUpperCase()
    return (
      name !== "IMAP4REV1" && (OFFERED.includes(name) || OFFERED_PREFIXES.some((prefix) => name.startsWith(prefix)))
    )
  })
  return ["IMAP4rev1", "LITERAL+", ...kept].join(" ")
}

/** Extensions a client may ENABLE (RFC 5161): those that change nothing about where message data stands. */
export const ENABLED: readonly string[] = ["CONDSTORE", "QRESYNC"]
