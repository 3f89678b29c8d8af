import type { ClientService, Config } from "../config/config.ts"
import { isLoopback } from "../config/values.ts"
import { stsRecordText } from "../message/published-sts.ts"

/** One record of a zone file (RFC 1035 §5.1). */
export interface DnsRecord {
  /** Absolute, with its last dot. */
  readonly name: string
  readonly type: "MX" | "SRV" | "CNAME" | "TXT" | "TLSA" | "OPENPGPKEY" | "SMIMEA" | `TYPE${number}`
  /** RDATA as a zone file has it; names in it are absolute. */
  readonly value: string
  /** What it is for, in a few words. */
  readonly about: string
}

/** The value of an SRV record that says that the service is not to be had (RFC 6186 §3.4). */
export const NOT_SERVED = "0 0 0 ."

/** Every record that `domain` should have, as this instance is configured. Each kind is a function below. */
export function dnsRecords(domain: string, config: Config): readonly DnsRecord[] {
  const kinds = [mx, senders, dmarc, mtaSts, tlsReports, reading, sending, autoconfig, autodiscover, keyHosts]
  return kinds.flatMap((records) => records(domain, config))
}

/** A line of a zone file; the comment says what it is for. */
export function zoneLine({ name, type, value, about }: DnsRecord): string {
  return `${name}\t${TTL_SECONDS}\tIN\t${type}\t${value}\t; ${about}`
}

/** RFC 5321 §5.1. */
function mx(domain: string, { hostname, listen }: Config): readonly DnsRecord[] {
  if (listen.mx === undefined) return []
  return [{ name: `${domain}.`, type: "MX", value: `10 ${hostname}.`, about: "mail from other servers" }]
}

/** RFC 7208: mail of ours comes from the mail exchanger, or from the next hop, of which only its owner knows by which addresses it sends. */
function senders(domain: string, { hostname, listen, relay }: Config): readonly DnsRecord[] {
  if (!sends(listen)) return []
  const own = listen.mx === undefined ? `a:${hostname}` : "mx"
  const hop = relay.kind === "smtp" && relay.endpoint.kind === "tcp" ? relay.endpoint.host : null
  const text = hop === null || isLoopback(hop) ? `v=spf1 ${own} -all` : `v=spf1 ${own} a:${hop} ~all`
  const about = text.endsWith("-all")
    ? "SPF"
    : `SPF, a suggestion: put what the owner of ${hop} says in place of a:${hop}`
  const greeting = {
    name: `${hostname}.`,
    type: "TXT",
    value: '"v=spf1 a -all"',
    about: "SPF of our greeting",
  } as const
  const isBelow = hostname.endsWith(`.${domain}`)
  return [{ name: `${domain}.`, type: "TXT", value: `"${text}"`, about }, ...(isBelow ? [greeting] : [])]
}

/** RFC 9989 §4.7. */
function dmarc(domain: string, { listen }: Config): readonly DnsRecord[] {
  if (!sends(listen)) return []
  const text = `v=DMARC1; p=quarantine; rua=mailto:postmaster@${domain}`
  return [{ name: `_dmarc.${domain}.`, type: "TXT", value: `"${text}"`, about: "DMARC, a suggestion" }]
}

/** RFC 8461 §3.1, §3.3. */
function mtaSts(domain: string, { hostname, policy, listen }: Config): readonly DnsRecord[] {
  if (policy.mtaSts === "off" || listen.mx === undefined) return []
  const record = stsRecordText({ mode: policy.mtaSts, mx: hostname })
  return [
    { name: `_mta-sts.${domain}.`, type: "TXT", value: `"${record}"`, about: `MTA-STS, ${policy.mtaSts}` },
    { name: `mta-sts.${domain}.`, type: "CNAME", value: `${hostname}.`, about: "where the MTA-STS policy is" },
  ]
}

/** RFC 8460 §3, so that somebody hears of what does not work. */
function tlsReports(domain: string, { listen }: Config): readonly DnsRecord[] {
  if (listen.mx === undefined) return []
  const text = `v=TLSRPTv1; rua=mailto:postmaster@${domain}`
  return [{ name: `_smtp._tls.${domain}.`, type: "TXT", value: `"${text}"`, about: "reports about TLS" }]
}

/** RFC 6186 §3.2, §3.4. POP3 is named to say that there is none. */
function reading(domain: string, config: Config): readonly DnsRecord[] {
  const { imap } = config.clients
  return [
    service(domain, "_imaps", find(imap, "tls"), 0, "reading, TLS from the start", config),
    service(domain, "_imap", find(imap, "starttls"), 10, "reading, STARTTLS", config),
    service(domain, "_pop3s", null, 0, "", config),
    service(domain, "_pop3", null, 0, "", config),
  ]
}

/** RFC 8314 §5.1, RFC 6186 §3.1. */
function sending(domain: string, config: Config): readonly DnsRecord[] {
  const { smtp } = config.clients
  return [
    service(domain, "_submissions", find(smtp, "tls"), 0, "sending, TLS from the start", config),
    service(domain, "_submission", find(smtp, "starttls"), 10, "sending, STARTTLS", config),
  ]
}

/** Thunderbird and others ask this name before the domain itself. */
function autoconfig(domain: string, config: Config): readonly DnsRecord[] {
  return alias(`autoconfig.${domain}`, "Thunderbird's autoconfiguration", config)
}

/** Outlook; the SRV record serves where the alias cannot. */
function autodiscover(domain: string, config: Config): readonly DnsRecord[] {
  const { https } = config.clients
  if (https === null) return []
  const about = "Outlook's Autodiscover"
  return [...alias(`autodiscover.${domain}`, about, config), service(domain, "_autodiscover", https, 0, about, config)]
}

/** Where keys of our people are looked for first: the mail profile (docs/PROFILE.md), and OpenPGP's Web Key Directory by its advanced method. */
function keyHosts(domain: string, config: Config): readonly DnsRecord[] {
  return [
    ...alias(`mail-profile.${domain}`, "where the mail profiles are", config),
    ...alias(`openpgpkey.${domain}`, "where the Web Key Directory is", config),
  ]
}

function sends(listen: Config["listen"]): boolean {
  return [listen.mx, listen.submission, listen.submissions].some((listener) => listener !== undefined)
}

/** Only for HTTPS at its own port, as nobody looks elsewhere; and never for the name that it points to. */
function alias(name: string, about: string, config: Config): readonly DnsRecord[] {
  const { https } = config.clients
  if (https === null || https.port !== HTTPS_PORT || name === hostOf(https, config)) return []
  return [{ name: `${name}.`, type: "CNAME", value: `${hostOf(https, config)}.`, about }]
}

/** The lower priority is preferred (RFC 2782). */
function service(
  domain: string,
  name: string,
  found: ClientService | null,
  priority: number,
  about: string,
  config: Config,
): DnsRecord {
  const value = found === null ? NOT_SERVED : `${priority} 1 ${found.port} ${hostOf(found, config)}.`
  return { name: `${name}._tcp.${domain}.`, type: "SRV", value, about: found === null ? "not served" : about }
}

/** The whole world asks, so a listener on loopback is taken for one behind something that has the host's name. */
function hostOf({ host }: ClientService, { hostname }: Config): string {
  return host === "localhost" ? hostname : host
}

function find(services: readonly ClientService[], security: ClientService["security"]): ClientService | null {
  return services.find((one) => one.security === security) ?? null
}

/** An hour: long enough to be cached, short enough for a change. */
const TTL_SECONDS = 3_600
const HTTPS_PORT = 443
