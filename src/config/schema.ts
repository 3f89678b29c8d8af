/** PURE. postern.toml as parsed -> {@link Config}, or every mistake in it with its line. */
import { resolve } from "node:path"
import type {
  AcmeConfig,
  ClientService,
  ClientsConfig,
  Config,
  DeliverConfig,
  Endpoint,
  ImapConfig,
  ImapLogin,
  LimitsConfig,
  ListenAddress,
  ListenerName,
  QueueConfig,
  RelayConfig,
  ScanConfig,
  StoreConfig,
  TransportRule,
} from "./config.ts"
import { Document, type Mistake } from "./document.ts"
import { readKeys } from "./keys.ts"
import { readMesh } from "./mesh.ts"
import { readOutgoing } from "./outgoing.ts"
import { postgresWarning, readPostgresUrl } from "./postgres-url.ts"
import { readRedisUrl, redisWarning } from "./redis-url.ts"
import { readClamd, readHttp, readHttpRoot, readScanned } from "./scan.ts"
import { readSecret } from "./secret.ts"
import {
  isLocalDnsServer,
  isLoopback,
  oneOf,
  readAddress,
  readDelay,
  readDnsServers,
  readDomain,
  readDomainPattern,
  readDomains,
  readDomainsOrNone,
  readDuration,
  readDurationOrOff,
  readFlag,
  readHostPatterns,
  readHttpsUrl,
  readListen,
  readNetworks,
  readSize,
  readText,
  urlOf,
  wholeNumber,
} from "./values.ts"

/** The checked configuration, or everything that is wrong with it. */
export type Checked =
  | { readonly kind: "config"; readonly config: Config }
  | { readonly kind: "mistakes"; readonly mistakes: readonly Mistake[] }

const LISTENERS: readonly ListenerName[] = [
  "mx",
  "submission",
  "submissions",
  "imap",
  "imaps",
  "imapsClient",
  "ldap",
  "ldaps",
  "https",
  "http",
  "admin",
]
const IMAP_SCHEMES = { imap: { security: "starttls", port: 143 }, imaps: { security: "tls", port: 993 } } as const
const SMTP_SCHEMES = { smtp: { security: "starttls", port: 25 }, smtps: { security: "tls", port: 465 } } as const
// RFC 2033 §5: LMTP has no port of its own, and 25 is forbidden to it.
const LMTP_SCHEMES = { lmtp: { security: "starttls", port: null } } as const

const LOOPBACK = readNetworks(["127.0.0.0/8", "::1"])

/**
 * Reads the parsed document. `file` is its absolute path: relative paths in it start at its folder.
 * `lineOf` tells where a dotted key stands.
 */
export function checkConfig(raw: unknown, file: string, lineOf: (key: string) => number | null): Checked {
  const document = new Document(raw, lineOf)
  const config = readConfig(document, file)
  const mistakes = document.finish()
  return config !== null && mistakes.length === 0
    ? { kind: "config", config: { ...config, warnings: document.warnings } }
    : { kind: "mistakes", mistakes }
}

function readConfig(document: Document, file: string): Config | null {
  const path = (value: unknown): string => resolve(file, "..", readText(value))
  const limits = readLimits(document)
  const domains = document.required("domains", readDomains)
  const hostname = document.optional("hostname", readDomain, domains?.[0] ?? "localhost")
  const tls = {
    certificate: document.optional("tls.certificate", path, resolve(file, "../tls/server.pem")),
    key: document.optional("tls.key", path, resolve(file, "../tls/server.key")),
    names: readTlsNames(document, path),
    acme: readAcme(document, hostname, path),
  }
  const services = readServices(document, hostname)
  const config = {
    file,
    hostname,
    postmaster: document.optional("postmaster", readAddress, null),
    data: document.optional("data", path, resolve(file, "../data")),
    secrets: document.optional("secrets", path, resolve(file, "../secrets")),
    keyring: document.optional("keyring", path, resolve(file, "../keyring")),
    logLevel: document.optional("logLevel", oneOf("debug", "info", "warn", "error", "silent"), "info"),
    ...services,
    tls,
    store: readStore(document, path),
    queue: readQueue(document, path),
    deliver: readDeliver(document),
    imap: readImap(document, path),
    ...readRelays(document, path),
    tlsReports: document.optional("relay.tlsReports", readFlag, true),
    policy: {
      outgoing: readOutgoing(document),
      subject: document.optional("policy.subject", oneOf("clear", "hidden"), "clear"),
      integrity: document.optional("policy.integrity", oneOf("report", "strict"), "report"),
      mtaSts: document.optional("policy.mtaSts", oneOf("off", "testing", "enforce"), "off"),
      authentication: document.optional("policy.authentication", oneOf("enforce", "report", "off"), "enforce"),
      trusted: document.optional("policy.trusted", readNetworks, LOOPBACK),
      trustedSealers: document.optional("policy.trustedSealers", readDomainsOrNone, []),
    },
    keys: readKeys(document, path),
    dns: readDns(document),
    scan: readScan(document, limits),
    mesh: readMesh(document, services.listen.https !== undefined, path),
    limits,
    warnings: [],
  }
  if (config.store.kind === "postgres") warnOfOneMachine(document, config)
  if (config.deliver.kind === "imap" && config.imap.kind === "embedded")
    document.mistake("mailboxes.deliver", '"imap:" needs mailboxes.imap to be an IMAP server')
  if (config.tls.acme !== null && config.listen.http === undefined)
    document.mistake("listen.http", 'is missing: tls.acme needs it, "*:80" in most cases (HTTP-01)')
  return domains === null ? null : { ...config, domains }
}

/** PostgreSQL may be for one machine only, so it is no mistake. */
function warnOfOneMachine(document: Document, { queue, deliver, imap }: Omit<Config, "domains">): void {
  const own = (key: string, what: string): void =>
    void document.warnings.push(`${key}: ${what} is this machine's own; machines that share store.url do not see it`)
  if (queue.kind === "embedded") own("queue.url", "the queue")
  if (deliver.kind === "embedded") own("mailboxes.deliver", "the mail it stores")
  if (imap.kind === "embedded") own("mailboxes.imap", "the mail it shows")
}

function readListeners(document: Document): Readonly<Partial<Record<ListenerName, ListenAddress>>> {
  const found = LISTENERS.flatMap((name) => {
    const address = document.optional<ListenAddress | null>(`listen.${name}`, readListen, null)
    return address === null ? [] : [[name, address] as const]
  })
  return Object.fromEntries(found)
}

function readServices(document: Document, hostname: string): Pick<Config, "listen" | "adminNames" | "clients"> {
  const listen = readListeners(document)
  const adminNames = document.optional("listen.adminNames", readDomainsOrNone, [])
  return { listen, adminNames, clients: readClients(document, hostname, listen) }
}

function readClients(document: Document, hostname: string, listen: Config["listen"]): ClientsConfig {
  const host = document.optional<string | null>("clients.host", readDomain, null)
  const services = (name: ClientListener, security: ClientService["security"]): readonly ClientService[] => {
    const listener = listen[name]
    const port = document.optional<number | null>(`clients.${name}`, wholeNumber(1, 65_535), listener?.port ?? null)
    // Port 0 is any free one, and nobody can be told which.
    if (port === null || port === 0) return []
    // By name: certificates have names, and some clients (mbsync 1.4) do not match an address against them.
    const here = listener !== undefined && isLoopback(listener.host)
    return [{ host: host ?? (here ? "localhost" : hostname), port, security }]
  }
  return {
    imap: [...services("imaps", "tls"), ...services("imap", "starttls")],
    imapClient: services("imapsClient", "tls")[0] ?? null,
    smtp: [...services("submissions", "tls"), ...services("submission", "starttls")],
    https: services("https", "tls")[0] ?? null,
  }
}

/** The listeners that devices use. */
type ClientListener = "submission" | "submissions" | "imap" | "imaps" | "imapsClient" | "https"

function readTlsNames(document: Document, path: (value: unknown) => string): Config["tls"]["names"] {
  const names = document.tables("tls.names").flatMap((at) => {
    const name = document.required(`${at}.name`, readDomain)
    const certificate = document.required(`${at}.certificate`, path)
    const key = document.required(`${at}.key`, path)
    return name === null || certificate === null || key === null ? [] : [{ at, name, certificate, key }]
  })
  for (const [index, { at, name }] of names.entries())
    if (names.findIndex((other) => other.name === name) < index) document.mistake(`${at}.name`, "stands here twice")
  return names.map(({ name, certificate, key }) => ({ name, certificate, key }))
}

function readAcme(document: Document, hostname: string, path: (value: unknown) => string): AcmeConfig | null {
  const directory = document.optional<string | null>("tls.acme.directory", readHttpsUrl, null)
  const email = document.optional<string | null>("tls.acme.email", readAddress, null)
  const agreeToTerms = document.optional("tls.acme.agreeToTerms", readFlag, false)
  const more = document.optional("tls.acme.names", readDomainsOrNone, [])
  const caFile = document.optional<string | null>("tls.acme.caFile", path, null)
  if (directory === null) {
    const [stated] = ["email", "agreeToTerms", "names", "caFile"].filter((key) => document.has(`tls.acme.${key}`))
    if (stated !== undefined && !document.has("tls.acme.directory"))
      document.mistake("tls.acme.directory", `is missing: tls.acme.${stated} is of no use without it`)
    return null
  }
  // RFC 8555 §7.3: agreement is the administrator's to give.
  if (!agreeToTerms) document.mistake("tls.acme.agreeToTerms", "must be true: read the terms of service of the CA")
  return { directory, email, names: [...new Set([hostname, ...more])], caFile }
}

function readStore(document: Document, path: (value: unknown) => string): StoreConfig {
  const read = (value: unknown): string => {
    const url = urlOf("embedded:", "postgres")(value)
    const warning = url === "embedded:" ? null : postgresWarning(readPostgresUrl(url))
    if (warning !== null) document.warnings.push(`store.url: ${warning}`)
    return url
  }
  const url = document.optional("store.url", read, "embedded:")
  const password = readSecret(document, "store.password", path)
  return url === "embedded:" ? { kind: "embedded" } : { kind: "postgres", url, password }
}

function readQueue(document: Document, path: (value: unknown) => string): QueueConfig {
  const read = (value: unknown): string => {
    const url = urlOf("embedded:", "redis", "rediss")(value)
    const warning = url === "embedded:" ? null : redisWarning(readRedisUrl(url))
    if (warning !== null) document.warnings.push(`queue.url: ${warning}`)
    return url
  }
  const url = document.optional("queue.url", read, "embedded:")
  const password = readSecret(document, "queue.password", path)
  const caFile = document.optional<string | null>("queue.caFile", path, null)
  if (caFile !== null && url.startsWith("redis:"))
    document.mistake("queue.caFile", "is of no use: queue.url is not rediss://")
  return url === "embedded:" ? { kind: "embedded" } : { kind: "redis", url, password, caFile }
}

function readDeliver(document: Document): DeliverConfig {
  const key = "mailboxes.deliver"
  const read = (value: unknown): DeliverConfig => {
    if (value === "embedded:") return { kind: "embedded" }
    if (value === "imap:") return { kind: "imap" }
    return { kind: "lmtp", endpoint: document.endpoint(key, readText(value), LMTP_SCHEMES) }
  }
  return document.optional<DeliverConfig>(key, read, { kind: "embedded" })
}

function readImap(document: Document, path: (value: unknown) => string): ImapConfig {
  const key = "mailboxes.imap"
  const read = (value: unknown): Endpoint | null =>
    value === "embedded:" ? null : document.endpoint(key, readText(value), IMAP_SCHEMES)
  const endpoint = document.optional<Endpoint | null>(key, read, null)
  const auth = document.optional("mailboxes.auth", oneOf("master", "stored"), "master")
  const user = document.optional("mailboxes.masterUser", readText, "postern")
  const password = readSecret(document, "mailboxes.masterPassword", path)
  const form = document.optional("mailboxes.masterForm", oneOf("separator", "authzid"), "separator")
  const caFile = document.optional<string | null>("mailboxes.caFile", path, null)
  const clientAddress = document.optional("mailboxes.clientAddress", oneOf("none", "id", "proxy"), "none")
  const count = wholeNumber(1, 1_000_000)
  const connections = document.optional("mailboxes.connections", count, 10_000)
  const connectionsPerAccount = document.optional("mailboxes.connectionsPerAccount", count, 100)
  const keepSeconds = document.optional("mailboxes.keepSeconds", wholeNumber(0, 1_500), 30)
  if (endpoint === null) return { kind: "embedded" }
  if (auth === "master" && password === null)
    document.mistake("mailboxes.masterPasswordFile", 'is missing: auth = "master" needs it')
  if (caFile !== null && (endpoint.kind === "unix" || endpoint.security === "plain"))
    document.mistake("mailboxes.caFile", "is of no use: mailboxes.imap is spoken without TLS")
  const login: ImapLogin =
    auth === "master" && password !== null ? { kind: "master", user, password, form } : { kind: "stored" }
  return { kind: "imap", endpoint, login, caFile, clientAddress, connections, connectionsPerAccount, keepSeconds }
}

function readRelays(document: Document, path: (value: unknown) => string): Pick<Config, "relay" | "transportRules"> {
  const relay = readRelay(document, path, "relay", { kind: "mx" })
  const rules = document.tables("relay.domains").flatMap((at) => {
    const domain = document.required(`${at}.domain`, readDomainPattern)
    const rule = readTransport(document, path, at, relay)
    return domain === null ? [] : [{ at, domain, ...rule }]
  })
  for (const [index, { at, domain }] of rules.entries())
    if (rules.findIndex((other) => other.domain === domain) < index)
      document.mistake(`${at}.domain`, "stands here twice")
  return { relay, transportRules: rules.map(({ at: _, ...rule }) => rule) }
}

function readTransport(
  document: Document,
  path: (value: unknown) => string,
  at: string,
  relay: RelayConfig,
): Omit<TransportRule, "domain"> {
  const next = readRelay(document, path, at, relay)
  const tls = document.optional<TransportRule["tls"] | null>(
    `${at}.tls`,
    oneOf("published", "opportunistic", "required", "dane"),
    null,
  )
  const mx = document.optional(`${at}.mx`, readHostPatterns, [])
  if (next.kind !== "mx" && tls !== null)
    document.mistake(`${at}.tls`, 'is for next = "mx": smtp:// and smtps:// demand TLS and a verified certificate')
  if (mx.length > 0 && (next.kind !== "mx" || (tls !== "required" && tls !== "dane")))
    document.mistake(`${at}.mx`, 'is for next = "mx" with tls = "required" or "dane"')
  return { next, tls: tls ?? "published", mx }
}

function readRelay(
  document: Document,
  path: (value: unknown) => string,
  table: string,
  fallback: RelayConfig,
): RelayConfig {
  const key = `${table}.next`
  const read = (value: unknown): Endpoint | "mx" =>
    value === "mx" ? "mx" : document.endpoint(key, readText(value), SMTP_SCHEMES)
  const endpoint = document.optional<Endpoint | "mx" | null>(key, read, null)
  const user = document.optional<string | null>(`${table}.user`, readText, null)
  const password = readSecret(document, `${table}.password`, path)
  if ((user === null) !== (password === null))
    document.mistake(`${table}.user`, `needs ${table}.passwordFile, and the reverse`)
  if (endpoint === null) return fallback
  if (endpoint === "mx") return { kind: "mx" }
  return { kind: "smtp", endpoint, login: user !== null && password !== null ? { user, password } : null }
}

function readScan(document: Document, limits: LimitsConfig): ScanConfig {
  const url = (key: "scan.rspamd" | "scan.hook", read: (value: unknown) => string): string | null => {
    const found = document.optional<string | null>(key, read, null)
    if (found?.startsWith("http:")) document.warnings.push(`${key}: is spoken in clear (allowed on this machine only)`)
    return found
  }
  const clamd = document.optional<ScanConfig["clamd"]>("scan.clamd", readClamd, null)
  if (clamd !== null) document.warnings.push("scan.clamd: is spoken in clear (allowed on this machine only)")
  return {
    clamd,
    rspamd: url("scan.rspamd", readHttpRoot),
    hook: url("scan.hook", readHttp),
    listeners: document.optional("scan.listeners", readScanned, ["mx"]),
    whenAway: document.optional("scan.whenAway", oneOf("defer", "accept"), "defer"),
    whenTooLarge: document.optional("scan.whenTooLarge", oneOf("accept", "defer", "reject"), "reject"),
    timeoutMs: document.optional("scan.timeout", readDuration, 60e3),
    maxOctets: document.optional("scan.maxSize", readSize, limits.messageSizeOctets),
  }
}

function readDns(document: Document): Config["dns"] {
  const servers = document.optional("dns.servers", readDnsServers, [])
  const validating = document.optional("dns.validating", readFlag, false)
  if (validating && servers.length === 0)
    document.mistake("dns.validating", "needs dns.servers: nobody knows what the system's do")
  if (validating)
    for (const server of servers.filter((one) => !isLocalDnsServer(one)))
      document.warnings.push(
        `dns.validating: ${server} is not on this machine; whoever can alter its answers decides what is secure`,
      )
  return { servers, validating }
}

function readLimits(document: Document): LimitsConfig {
  const count = wholeNumber(1, 1_000_000)
  const countOrNone = wholeNumber(0, 1_000_000)
  const imapConnections = document.optional("limits.imapConnections", count, 1_000)
  return {
    messageSizeOctets: document.optional("limits.messageSize", readSize, 50_000_000),
    recipients: document.optional("limits.recipients", wholeNumber(1, 10_000), 100),
    smtpConnections: document.optional("limits.smtpConnections", count, 500),
    smtpConnectionsPerNetwork: document.optional("limits.smtpConnectionsPerNetwork", count, 50),
    smtpMessagesPerNetwork: document.optional("limits.smtpMessagesPerNetwork", countOrNone, 0),
    smtpUnknownRecipients: document.optional("limits.smtpUnknownRecipients", countOrNone, 100),
    httpUnknownAddresses: document.optional("limits.httpUnknownAddresses", countOrNone, 100),
    meshRequestsPerNetwork: document.optional("limits.meshRequestsPerNetwork", countOrNone, 6_000),
    smtpRecipientsPerAccount: document.optional("limits.smtpRecipientsPerAccount", countOrNone, 1_000),
    smtpGreylistMs: document.optional("limits.smtpGreylist", readDurationOrOff, 0),
    smtpGreetingDelayMs: document.optional("limits.smtpGreetingDelay", readDelay, 100),
    imapConnections,
    imapConnectionsPerAddress: document.optional("limits.imapConnectionsPerAddress", count, imapConnections),
    imapConnectionsPerAccount: document.optional("limits.imapConnectionsPerAccount", count, 200),
    imapConnectionsPerDevice: document.optional("limits.imapConnectionsPerDevice", count, 50),
    imapProcesses: document.optional<number | null>("limits.imapProcesses", wholeNumber(1, 64), null),
    imapBufferOctets: document.optional("limits.imapBuffers", readSize, 256_000_000),
    deliveries: document.optional("limits.deliveries", wholeNumber(1, 1_000), 48),
    deliveriesPerDomain: document.optional("limits.deliveriesPerDomain", wholeNumber(1, 1_000), 20),
    queueLifetimeMs: document.optional("limits.queueLifetime", readDuration, 5 * 86_400e3),
    delayWarningMs: document.optional("limits.delayWarning", readDurationOrOff, 4 * 3_600e3),
    loginFailures: document.optional("limits.loginFailures", countOrNone, 20),
    loginFailuresPerAccount: document.optional("limits.loginFailuresPerAccount", countOrNone, 100),
    smtpIdleMs: document.optional("limits.smtpIdle", readDuration, 300e3),
    imapIdleMs: document.optional("limits.imapIdle", readDuration, 1_800e3),
  }
}
