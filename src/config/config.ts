import type { PolicyRules } from "../profiles/policy.ts"

/** "host:port" of a listener. */
export interface ListenAddress {
  /** Name or address literal without brackets; `::` means every address of the machine. */
  readonly host: string
  /** 0: any free port. */
  readonly port: number
}

/** The listeners an instance can have; one that is absent is not served. */
export type ListenerName =
  | "mx"
  | "submission"
  | "submissions"
  | "imap"
  | "imaps"
  | "imapsClient"
  | "ldap"
  | "ldaps"
  | "https"
  | "http"
  | "admin"

/** A service as devices reach it: by another name or port than the listener's where something stands between. */
export interface ClientService {
  readonly host: string
  readonly port: number
  readonly security: "tls" | "starttls"
}

/** What mail clients are told. A service that is not served is not in it. */
export interface ClientsConfig {
  /** Preferred first: TLS from the start (RFC 8314 §3.3). */
  readonly imap: readonly ClientService[]
  /** Reading with a device's TLS certificate. */
  readonly imapClient: ClientService | null
  /** Submission; preferred first. */
  readonly smtp: readonly ClientService[]
  /** Where the documents are that configure clients. */
  readonly https: ClientService | null
}

/** How a connection to another server is protected: TLS from the start, STARTTLS demanded, or STARTTLS only where offered. */
export type Security = "tls" | "starttls" | "plain"

/** Where another server listens. */
export type Endpoint =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly security: Security }
  | UnixSocket

/** Never leaves the machine, so plain. */
interface UnixSocket {
  readonly kind: "unix"
  readonly path: string
}

/** A secret that stands outside postern.toml. */
export type SecretSource =
  /** Absolute; one trailing newline is not part of it. */
  { readonly kind: "file"; readonly path: string } | { readonly kind: "environment"; readonly name: string }

/** Where the state lives. */
export type StoreConfig =
  | { readonly kind: "embedded" }
  | { readonly kind: "postgres"; readonly url: string; readonly password: SecretSource | null }

/** Where the work list lives. */
export type QueueConfig =
  | { readonly kind: "embedded" }
  | {
      readonly kind: "redis"
      readonly url: string
      readonly password: SecretSource | null
      /** PEM of the only authority to trust; null: those of the system. */
      readonly caFile: string | null
    }

/** Where mail of our people goes. */
export type DeliverConfig =
  | { readonly kind: "embedded" }
  | { readonly kind: "lmtp"; readonly endpoint: Endpoint }
  /** APPEND over the IMAP upstream. */
  | { readonly kind: "imap" }

/** Where the mailboxes are that the IMAP proxy shows. */
export type ImapConfig =
  | { readonly kind: "embedded" }
  | {
      readonly kind: "imap"
      readonly endpoint: Endpoint
      readonly login: ImapLogin
      /** PEM of the only authority to trust, absolute; null: those of the system. */
      readonly caFile: string | null
      /** How the server learns a client's address: not at all, by ID before login, or by the PROXY protocol. */
      readonly clientAddress: "none" | "id" | "proxy"
      /** Connections at once. */
      readonly connections: number
      /** Connections at once for one account. */
      readonly connectionsPerAccount: number
      /** How long a connection that a client has logged out of waits for the next login; 0: it ends at once. */
      readonly keepSeconds: number
    }

/** How the proxy logs in upstream. */
export type ImapLogin =
  /** One master user for all accounts: as `account*user` (Dovecot), or by SASL PLAIN with the account to act as (Cyrus). */
  | {
      readonly kind: "master"
      readonly user: string
      readonly password: SecretSource
      readonly form: "separator" | "authzid"
    }
  /** A password or OAuth grant per account, sealed by keys in `secrets/`. */
  | { readonly kind: "stored" }

/** Where mail for other domains goes. */
export type RelayConfig =
  | { readonly kind: "mx" }
  | { readonly kind: "smtp"; readonly endpoint: Endpoint; readonly login: RelayLogin | null }

/** What is demanded of TLS with the mail exchangers of a domain. */
export type TransportTls =
  /** What the domain publishes: DANE (RFC 7672), else MTA-STS (RFC 8461), else TLS where offered. */
  | "published"
  /** TLS where offered, whatever is published. */
  | "opportunistic"
  /** TLS with a certificate of the mail exchanger's name, or one that DANE vouches for. */
  | "required"
  /** Only mail exchangers that DANE vouches for. */
  | "dane"

/** How mail for one domain goes, where that is not how the rest goes. */
export interface TransportRule {
  /** Lower-case A-labels; with "*." in front: every domain below it. */
  readonly domain: string
  readonly next: RelayConfig
  /** Of use with MX records only: a next hop's URL says what it demands. */
  readonly tls: TransportTls
  /** The mail exchangers that may be used, as in an MTA-STS policy (RFC 8461 §3.2); none: those that MX records name. */
  readonly mx: readonly string[]
}

/** AUTH at the next hop. */
interface RelayLogin {
  readonly user: string
  readonly password: SecretSource
}

/** A server where anybody may publish keys. */
export interface KeyserverConfig {
  readonly protocol: "vks" | "hkps"
  readonly host: string
  /** null: 443. */
  readonly port: number | null
}

/** An LDAP directory with keys of people. */
export interface DirectoryConfig {
  /** For people. */
  readonly name: string
  readonly endpoint: Endpoint & { readonly kind: "tcp" }
  /** Whose addresses it knows: lower-case A-labels, "*." and a domain for those below it, "*" for all. */
  readonly domains: readonly string[]
  /** Distinguished name under which is searched; empty: all that the server has. */
  readonly base: string
  /** With `{address}`, `{local}`, `{domain}`; null: by mail address. */
  readonly filter: string | null
  /** PEM of the only authority to trust, absolute; null: those of the system. */
  readonly caFile: string | null
  /** `user` is a distinguished name; null: anonymous. */
  readonly login: RelayLogin | null
}

/** Where keys of other people are looked for. */
export interface KeysConfig {
  /**
   * `profile`: signed mail profiles; `wkd`: OpenPGP Web Key Directories; `dane`: records that DNSSEC proves; `autocrypt`: fields of authenticated mail;
   * `harvested`: verified signatures (S/MIME) and attachments (OpenPGP) of authenticated mail.
   */
  readonly sources: readonly ("pinned" | "profile" | "wkd" | "dane" | "autocrypt" | "harvested")[]
  /** What one source may take, milliseconds. */
  readonly timeoutMs: number
  /** How long an answer with keys holds, milliseconds; it is asked for again after half of it. */
  readonly keepFoundMs: number
  /** How long an answer without keys holds, milliseconds. */
  readonly keepNoneMs: number
  readonly directories: readonly DirectoryConfig[]
  /** Asked beside the sources. */
  readonly keyservers: readonly KeyserverConfig[]
  /** PEM files of authorities whose e-mail certificates are believed, absolute. */
  readonly roots: readonly string[]
  /** Whether certificates are revoked: not asked; asked, and silence is good; or nothing is used without an answer. */
  readonly revocation: "off" | "soft" | "hard"
  /** Files of CRLs, PEM or DER, absolute; read whenever they are needed. */
  readonly revocationLists: readonly string[]
  /** A key for a@ is good for a+tag@. */
  readonly plusTags: boolean
  /** Clients are given a certificate of ours for those who have none. */
  readonly standIns: boolean
}

/** Who gets what. */
interface PolicyConfig {
  /** Leaving mail. */
  readonly outgoing: PolicyRules
  /** Subject outside the encryption: as it came, or replaced by "...". */
  readonly subject: "clear" | "hidden"
  /** A stored message whose marker does not fit: report it, or end the connection before its last octets. */
  readonly integrity: "report" | "strict"
  /** What other servers are told of TLS with our mail exchanger (MTA-STS, RFC 8461). */
  readonly mtaSts: "off" | "testing" | "enforce"
  /** Mail of other servers: SPF, DKIM, ARC, DMARC and BIMI are looked at and DMARC's wish is followed, or only looked at, or not even that. */
  readonly authentication: "enforce" | "report" | "off"
  /** Networks whose mail is not authenticated. */
  readonly trusted: readonly Network[]
  /** Domains whose ARC seals are believed: mail that passed DMARC at one of them is not treated as failing here. */
  readonly trustedSealers: readonly string[]
}

/** Programs that look at mail before it is accepted; each is null where none is named. */
export interface ScanConfig {
  /** ClamAV's daemon: on this machine, since its protocol has no TLS. */
  readonly clamd: { readonly kind: "tcp"; readonly host: string; readonly port: number } | UnixSocket | null
  /** URL of rspamd's root. */
  readonly rspamd: string | null
  /** URL of a program of one's own. */
  readonly hook: string | null
  /** Whose mail is shown to them: that of other servers, that of our people. */
  readonly listeners: readonly ("mx" | "submission")[]
  /** What becomes of a message while one of them gives no answer. */
  readonly whenAway: "defer" | "accept"
  /** What becomes of a message that is larger than `maxOctets`. */
  readonly whenTooLarge: "accept" | "defer" | "reject"
  /** How long a message waits for one of them, all its waits together, milliseconds. */
  readonly timeoutMs: number
  /** Octets of the largest message that is shown to them. */
  readonly maxOctets: number
}

/** A network address and how many bits of it are meant. */
export interface Network {
  readonly address: string
  readonly prefixBits: number
  readonly family: "ipv4" | "ipv6"
}

/** Where DNS is asked. */
interface DnsConfig {
  /** "address" or "address:port"; none: the system's. */
  readonly servers: readonly string[]
  /** They validate DNSSEC, and nobody can alter what they answer: their AD bit is believed (RFC 6840 §5.8), which DANE needs. */
  readonly validating: boolean
}

/** This gateway's part in the Mesh. */
export interface MeshConfig {
  /** Where others ask our service, `https://host[:port]/.well-known/mmm/`; null: there is none, nothing is listed and nothing is sent. */
  readonly service: string | null
  /** Whose messages come in, beside requests for contact; none of these: nobody's. */
  readonly accept: readonly ("contacts" | "organisation" | "everybody")[]
  /** Octets of all stores of one account. */
  readonly storageOctets: number
  /** How long the original of what came stays in an account's Inbound. */
  readonly keepMs: number
  /** Folder of what is too long for a message, in common of all machines; null: not stated. */
  readonly bulk: string | null
}

/** Bounds; each has a default that suits a small server. */
export interface LimitsConfig {
  /** Octets of a message as sent. */
  readonly messageSizeOctets: number
  /** RCPT commands in one transaction. */
  readonly recipients: number
  /** SMTP connections at once, all listeners of a kind together. */
  readonly smtpConnections: number
  /** Of them, from one network: an IPv4 address, or the /64 of an IPv6 address. */
  readonly smtpConnectionsPerNetwork: number
  /** Messages that one network begins at MX within an hour; 0: as many as it likes. */
  readonly smtpMessagesPerNetwork: number
  /** Recipients that are nobody here, named by one network at MX within an hour, after which it hears of nobody; 0: as many as it likes. */
  readonly smtpUnknownRecipients: number
  /** Keys of addresses that are nobody here, asked for over HTTPS by one network within an hour, after which it hears of nobody; 0: as many as it likes. */
  readonly httpUnknownAddresses: number
  /** Requests to the Mesh service from one network within a minute; 0: as many as it likes. */
  readonly meshRequestsPerNetwork: number
  /** Recipients that one account may write to within an hour; 0: as many as it likes. */
  readonly smtpRecipientsPerAccount: number
  /** How long who writes for the first time is put off at MX, milliseconds; 0: not at all. */
  readonly smtpGreylistMs: number
  /** How long whoever connects to MX must be silent before the greeting, unless it is known, milliseconds; 0: not at all. */
  readonly smtpGreetingDelayMs: number
  /** IMAP connections at once, all listeners and processes together. */
  readonly imapConnections: number
  /** Of them, from one remote address. */
  readonly imapConnectionsPerAddress: number
  /** Of them, of one account. */
  readonly imapConnectionsPerAccount: number
  /** Of them, of one device. */
  readonly imapConnectionsPerDevice: number
  /** Processes that serve IMAP; 1: the one that does everything else. null: not stated, so 1. */
  readonly imapProcesses: number | null
  /** Octets held for slow IMAP peers, all connections and processes together. */
  readonly imapBufferOctets: number
  /** Deliveries at once. */
  readonly deliveries: number
  /** Of them, at one domain; mail of our own domains is not limited. */
  readonly deliveriesPerDomain: number
  /** How long delivery is tried before the sender is told that it failed, milliseconds. */
  readonly queueLifetimeMs: number
  /** When the sender is told that a message is not delivered yet, milliseconds; 0: never. */
  readonly delayWarningMs: number
  /** Distinct wrong passwords of one network within 15 minutes, after which its logins are not looked at; 0: as many as it likes. */
  readonly loginFailures: number
  /** The same for one account, from all networks together: then only networks without wrong passwords are heard. */
  readonly loginFailuresPerAccount: number
  /** Silence after which an SMTP connection is ended, milliseconds. */
  readonly smtpIdleMs: number
  /** Silence after which an IMAP connection is ended, milliseconds. */
  readonly imapIdleMs: number
}

/** Files of a certificate and its key. */
export interface TlsFiles {
  readonly certificate: string
  readonly key: string
}

/** What is shown to clients that ask for `name`. */
interface NamedTlsFiles extends TlsFiles {
  /** Lower-case A-labels. */
  readonly name: string
}

/** Where the server's certificate comes from by itself (ACME, RFC 8555). */
export interface AcmeConfig {
  /** URL of the directory (RFC 8555 §7.1.1), https. */
  readonly directory: string
  /** Whom the CA may write to (RFC 8555 §7.1.2); null: nobody. */
  readonly email: string | null
  /** The names of the certificate, lower-case A-labels: `hostname`, then those that are stated. */
  readonly names: readonly string[]
  /** PEM of the only authority to trust for the CA's own server, absolute; null: those of the system. */
  readonly caFile: string | null
}

/** postern.toml, checked, with every default filled in and every path absolute. */
export interface Config {
  /** postern.toml itself, absolute. */
  readonly file: string
  /** Lower-case A-labels; the first one names this server where `hostname` does not. At least one. */
  readonly domains: readonly string[]
  /** What we call ourselves in greetings and Received fields. */
  readonly hostname: string
  /** The account that gets mail for postmaster (address in its stored form); null: the first account made. */
  readonly postmaster: string | null
  /** Folder of state, spool and mail, absolute. */
  readonly data: string
  /** Folder of what a backup of `data` must not hold, absolute. */
  readonly secrets: string
  /** Folder of people's own secrets, absolute; the server never opens it. */
  readonly keyring: string
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent"
  readonly listen: Readonly<Partial<Record<ListenerName, ListenAddress>>>
  /** Host names that `listen.admin` is asked by beside `hostname` and its own, lower-case A-labels. */
  readonly adminNames: readonly string[]
  readonly clients: ClientsConfig
  /** Files of the listeners' certificate and key (PEM), absolute. */
  readonly tls: TlsFiles & {
    /** Others, for clients that ask for a name (RFC 6066 §3). */
    readonly names: readonly NamedTlsFiles[]
    /** null: the files are somebody else's to renew. */
    readonly acme: AcmeConfig | null
  }
  readonly store: StoreConfig
  readonly queue: QueueConfig
  readonly deliver: DeliverConfig
  readonly imap: ImapConfig
  readonly relay: RelayConfig
  /** Domains whose mail goes another way. */
  readonly transportRules: readonly TransportRule[]
  /** Domains that ask for it are told daily what TLS with them came to (TLS-RPT, RFC 8460). */
  readonly tlsReports: boolean
  readonly policy: PolicyConfig
  readonly keys: KeysConfig
  readonly dns: DnsConfig
  readonly scan: ScanConfig
  readonly mesh: MeshConfig
  readonly limits: LimitsConfig
  /** What is allowed but worth a thought; for the log. */
  readonly warnings: readonly string[]
}
