import { getServers, Resolver } from "node:dns/promises"
import { readFileSync } from "node:fs"
import type { Config } from "../config/config.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { sha256, sha512 } from "../crypto/primitives/hash.ts"
import { certificateForms, certificateNames } from "../crypto/primitives/x509.ts"
import { recordsOf } from "../net/dns-alias.ts"
import { type Ask, dnsClient } from "../net/dns-client.ts"
import { dkimDns } from "./check-dkim.ts"
import { type Finding, note, ok, wrong } from "./check-finding.ts"
import { type DnsRecord, dnsRecords, NOT_SERVED } from "./dns-records.ts"
import { keyRecordsOf, type PersonRecord } from "./people-records.ts"
import type { OpenInstance } from "./shell.ts"

const DNS_TIMEOUT_MS = 3_000
/** Questions at once about people's keys. */
const QUESTIONS = 16
/** RFC 2606 §2, RFC 6761: nothing is published for these. */
const RESERVED = /(?:^|\.)(?:test|example|invalid|localhost|example\.(?:com|net|org))$/

/** What DNS says of a domain, beside what it should say. */
export async function checkDns(domain: string, { config, people }: OpenInstance): Promise<readonly Finding[]> {
  if (RESERVED.test(domain) && config.dns.servers.length === 0)
    return [note(`DNS of ${domain}`, "a reserved name, nothing is published for it")]
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 1 })
  if (config.dns.servers.length > 0) resolver.setServers(config.dns.servers)
  const ask = dnsClient(config.dns.servers.length > 0 ? config.dns.servers : getServers(), DNS_TIMEOUT_MS)
  const records = dnsRecords(domain, config)
  return [
    ...(await mail(domain, resolver, records)),
    // Of the host, so that it is said once.
    ...(domain === config.domains[0] ? await exchangerKeys(resolver, config) : []),
    ...(await Promise.all(records.map((record) => helper(resolver, record)))).flat(),
    ...(await keyHosts(resolver, records, config)),
    ...(await dkimDns(domain, config)),
    ...(await personKeys(ask, keyRecordsOf(people.accounts(), domain))),
  ]
}

/** What mail does not come or go well without. */
async function mail(domain: string, resolver: Resolver, records: readonly DnsRecord[]): Promise<readonly Finding[]> {
  const exchangers = await answer(() => resolver.resolveMx(domain))
  const txt = texts(await answer(() => resolver.resolveTxt(domain)))
  const dmarc = texts(await answer(() => resolver.resolveTxt(`_dmarc.${domain}`)))
  const line = (name: string, type: DnsRecord["type"]): DnsRecord | null =>
    records.find((record) => record.name === `${name}.` && record.type === type) ?? null
  const mx = line(domain, "MX")
  const isOurs = (exchange: string): boolean => mx?.value.endsWith(` ${exchange.toLowerCase()}.`) === true
  return [
    judge(`MX of ${domain}`, exchangers, (found) => found.some(({ exchange }) => isOurs(exchange)), mx),
    judge(`SPF of ${domain}`, txt, (found) => found.some((text) => /^v=spf1(?: |$)/.test(text)), line(domain, "TXT")),
    judge(
      `DMARC of ${domain}`,
      dmarc,
      (found) => found.some((text) => text.startsWith("v=DMARC1")),
      line(`_dmarc.${domain}`, "TXT"),
    ),
  ].flat()
}

function judge<T>(
  about: string,
  found: readonly T[] | null,
  isGood: (found: readonly T[]) => boolean,
  record: DnsRecord | null,
): readonly Finding[] {
  if (record === null) return []
  const advice = `should have: ${record.name} ${record.type} ${record.value}`
  if (found === null) return [note(about, `no answer from DNS; ${advice}`)]
  return [isGood(found) ? ok(about, "as it should be") : wrong(about, advice)]
}

/** What clients and other servers find things by; mail works without. */
async function helper(resolver: Resolver, record: DnsRecord): Promise<readonly Finding[]> {
  const name = record.name.slice(0, -1)
  const about = `${record.type} ${record.name}`
  const isThere = await looked(resolver, name, record)
  if (isThere === "not looked at") return []
  if (isThere === null) return [note(about, "no answer from DNS")]
  return [
    isThere
      ? ok(about, "as it should be")
      : note(about, `${record.about}: ${record.name} ${record.type} ${record.value}`),
  ]
}

/** @returns null when there is no answer */
async function looked(
  resolver: Resolver,
  name: string,
  { type, value }: DnsRecord,
): Promise<boolean | "not looked at" | null> {
  if (type === "SRV" && value !== NOT_SERVED) return await hasService(resolver, name, value)
  if (type === "CNAME") return await hasAddress(resolver, name)
  if (type === "TXT" && /^(?:_mta-sts|_smtp\._tls)\./.test(name)) return await hasPolicy(resolver, name, value)
  return "not looked at"
}

async function hasService(resolver: Resolver, name: string, value: string): Promise<boolean | null> {
  const [, , port, target] = value.split(" ")
  const found = await answer(() => resolver.resolveSrv(name))
  if (found === null) return null
  return found.some((one) => String(one.port) === port && `${one.name.toLowerCase()}.` === target)
}

/** An address will do as well as an alias. */
async function hasAddress(resolver: Resolver, name: string): Promise<boolean | null> {
  const found = [await answer(() => resolver.resolve4(name)), await answer(() => resolver.resolve6(name))]
  return found.every((one) => one === null) ? null : found.some((one) => one !== null && one.length > 0)
}

/** The id of an MTA-STS policy tells which one it is; reports may go to others than we would choose. */
async function hasPolicy(resolver: Resolver, name: string, value: string): Promise<boolean | null> {
  const found = texts(await answer(() => resolver.resolveTxt(name)))
  const isSts = name.startsWith("_mta-sts.")
  if (found === null) return null
  return found.some((text) => (isSts ? `"${text}"` === value : text.startsWith("v=TLSRPTv1")))
}

/** Names in DNS that no certificate of ours is for: who looks for keys there gets no answer, which is worse than "none". */
async function keyHosts(
  resolver: Resolver,
  records: readonly DnsRecord[],
  { tls }: Config,
): Promise<readonly Finding[]> {
  const own = shownAt(tls.certificate)
  const isNamed = (host: string): boolean =>
    (own !== null && certificateNames(own.der, host)) || tls.names.some(({ name }) => name === host)
  const hosts = records
    .filter(({ type, name }) => type === "CNAME" && /^(?:mail-profile|openpgpkey)\./.test(name))
    .map(({ name }) => name.slice(0, -1))
  const inDns = await Promise.all(hosts.map((host) => hasAddress(resolver, host)))
  return hosts
    .filter((host, at) => inDns[at] === true && !isNamed(host))
    .map((host) =>
      wrong("tls.certificate", `does not name ${host}, which is in DNS: others cannot look for keys there`),
    )
}

/** TLSA that is for another key than ours: servers that look do not deliver (RFC 7672 §2.2). Nothing is said where there is none. */
async function exchangerKeys(resolver: Resolver, { hostname, listen, tls }: Config): Promise<readonly Finding[]> {
  if (listen.mx === undefined) return []
  const name = `_25._tcp.${hostname}`
  const found = await answer(() => resolver.resolveTlsa(name))
  // DANE-EE only: what authorities are meant, the chain would tell.
  const own = (found ?? []).filter(({ certUsage }) => certUsage === DANE_EE)
  if (own.length === 0) return []
  const shown = shownAt(tls.names.find((one) => one.name === hostname)?.certificate ?? tls.certificate)
  if (shown === null) return []
  const fits = own.some(({ selector, match, data }) => {
    const selected = selector === 0 ? shown.der : shown.spki
    const digest = match === 0 ? selected : match === 1 ? sha256(selected) : sha512(selected)
    return Buffer.compare(Buffer.from(data), digest) === 0
  })
  const about = `TLSA of ${name}`
  return [
    fits
      ? ok(about, "is for the key that is shown")
      : wrong(about, "is for another key than is shown: servers that look at it do not deliver; postern dns --tlsa"),
  ]
}

function shownAt(file: string): { readonly der: Uint8Array; readonly spki: Uint8Array } | null {
  try {
    const [der] = pemDecode("CERTIFICATE", readFileSync(file, "utf8"))
    return der === undefined ? null : { der, spki: certificateForms(der).spki }
  } catch (error) {
    // Said by check, where it is about files.
    if (error instanceof Error) return null
    throw error
  }
}

/** Keys in DNS that are not today's: others would encrypt to them. Nothing is said of people who are not in DNS. */
async function personKeys(ask: Ask, records: readonly PersonRecord[]): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  for (let at = 0; at < records.length; at += QUESTIONS) {
    const some = await Promise.all(records.slice(at, at + QUESTIONS).map((record) => personKey(ask, record)))
    findings.push(...some.flat())
    if (some.some((found) => found.some(({ state }) => state === "note"))) break
  }
  return findings
}

async function personKey(ask: Ask, { address, type, name, data }: PersonRecord): Promise<readonly Finding[]> {
  const about = `${type} of ${address}`
  const found = await answer(async () => recordsOf(name, (await ask(name, type)).answers).records)
  if (found === null) return [note(about, "no answer from DNS")]
  const others = found.filter((record) => record.type === type)
  if (others.length === 0) return []
  const isToday = others.some((record) => record.type === type && Buffer.compare(record.data, data) === 0)
  return [isToday ? ok(about, "as it should be") : wrong(about, "DNS has another key: postern dns --keys")]
}

function texts(records: readonly (readonly string[])[] | null): readonly string[] | null {
  return records?.map((parts) => parts.join("")) ?? null
}

/** Records; [] where the name or type does not exist; null: no answer. */
async function answer<T>(question: () => Promise<readonly T[]>): Promise<readonly T[] | null> {
  try {
    return await question()
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null
    return code === "ENODATA" || code === "ENOTFOUND" ? [] : null
  }
}

const DANE_EE = 3
