import type { Address } from "../message/address.ts"
import type { DeliveryStatus } from "../message/status.ts"
import type { TlsaRecord } from "./tlsa.ts"
import type { DaneDemand, TransportLevel } from "./transport.ts"

/** Name and password at a next hop. Never sent in clear, but to this host itself. */
interface HopCredentials {
  readonly username: string
  readonly password: string
}

/** One host that takes our mail. */
export interface HostHop {
  readonly kind: "host"
  readonly host: string
  readonly port: number
  /**
   * `opportunistic`: STARTTLS where offered, any certificate; `encrypted`: STARTTLS, any certificate; `required`: STARTTLS, verified;
   * `implicit`: TLS first, verified; or STARTTLS with a certificate that DANE vouches for.
   */
  readonly tls: "opportunistic" | "encrypted" | "required" | "implicit" | DaneDemand
  readonly auth?: HopCredentials
  /** Unless given: smtp. LMTP (RFC 2033) is how a local mail store takes mail; its reply after the message is the recipient's own. */
  readonly protocol?: "lmtp"
  /** Unix socket to connect to instead of host and port. */
  readonly socketPath?: string
  /** PEM of the authority to verify against, instead of the system's. */
  readonly authority?: string
}

/** The mail exchangers of a domain (RFC 5321 §5.1). */
export interface ExchangeHop {
  readonly kind: "mx"
  readonly domain: string
  readonly resolver: Resolver
  /** True for addresses of this host: mail is never sent to ourselves. */
  readonly isOurs: (address: string) => boolean
  /** 25 unless given. */
  readonly port?: number
  /** What an administrator demands; `published` unless given. */
  readonly level?: TransportLevel
  /** PEM of the authorities to verify against, instead of the system's. */
  readonly authority?: string
}

/** Where a message goes next. */
export type Hop = HostHop | ExchangeHop

/** Records of a name. None: the name or record does not exist. */
export interface Answer<T> {
  readonly records: readonly T[]
  /** Validated by DNSSEC, also that there are none; false where nobody validates. */
  readonly secure: boolean
}

/** Mail routing records. Each question throws when there was no answer, which includes a bogus one. */
export interface Resolver {
  mx(domain: string): Promise<Answer<{ readonly exchange: string; readonly preference: number }>>
  /** IPv6 and IPv4 addresses; `canonical`: the name that has them, another one where `host` is an alias. */
  addresses(host: string): Promise<Answer<string> & { readonly canonical: string }>
  /** Asked for only where addresses are secure. */
  tlsa(name: string): Promise<Answer<TlsaRecord>>
  /** The name is a CNAME, and that much is validated, wherever it leads (RFC 7672 §2.2.2). */
  isSecureAlias(name: string): Promise<boolean>
  /** TXT records, the strings of each joined. */
  text(name: string): Promise<readonly string[]>
}

/** A message for one recipient at the next hop. */
export interface RelayMessage {
  readonly sender: Address | null
  readonly recipient: Address
  readonly smtpUtf8: boolean
  /** MAIL had REQUIRETLS (RFC 8689): only over verified TLS, only to who promises the same. */
  readonly requireTls?: true
  /** DSN parameters (RFC 3461), passed on where the next hop takes them. */
  readonly envelopeId: string | null
  readonly returnContent: "FULL" | "HDRS" | null
  readonly notify: readonly ("NEVER" | "SUCCESS" | "FAILURE" | "DELAY")[] | null
  readonly originalRecipient: string | null
  readonly sizeOctets: number
  /** The octets, CRLF; called anew for each attempt. */
  readonly content: () => AsyncIterable<Uint8Array>
}

/** What became of one attempt. */
export type RelayOutcome =
  | {
      readonly kind: "relayed"
      readonly status: DeliveryStatus
      /** The next hop took the DSN parameters, so it sends the notifications that they ask for (RFC 3461 §5.2.2). */
      readonly notifies?: true
    }
  | { readonly kind: "retry"; readonly status: DeliveryStatus }
  | { readonly kind: "failed"; readonly status: DeliveryStatus }
