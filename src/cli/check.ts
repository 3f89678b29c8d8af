import { readFileSync, statSync } from "node:fs"
import { createServer } from "node:net"
import type { Command } from "commander"
import type { Config, ListenAddress } from "../config/config.ts"
import { isLoopback, written } from "../config/values.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { certificateNames } from "../crypto/primitives/x509.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { correspondentEndings, leftText, NEAR_DAYS, nearRenewed, peopleEndings } from "../identity/endings.ts"
import { parseAddress } from "../message/address.ts"
import { whyNotListening } from "../net/listening.ts"
import { systemCode } from "../store/durable.ts"
import { KeptKeyMemory } from "../store/key-memory.ts"
import type { People } from "../store/people.ts"
import { presentProcesses } from "../store/presence.ts"
import { everybody } from "../store/resolve.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { lastAttempt, serverCertificateView } from "./acme-view.ts"
import { dkimFiles } from "./check-dkim.ts"
import { checkDns } from "./check-dns.ts"
import { type Finding, note, ok, wrong } from "./check-finding.ts"
import { forwardingFindings } from "./check-forwarding.ts"
import { meshFindings } from "./check-mesh.ts"
import { standInFindings } from "./check-stand-ins.ts"
import { gatewayKeyView } from "./gateway-key-view.ts"
import { madeByRoot } from "./owner.ts"
import {
  type CommonOptions,
  type OpenInstance,
  openInstance,
  optionsOf,
  print,
  printJson,
  type Shell,
  type Starters,
} from "./shell.ts"

const DAY_MS = 86_400_000
const SHOWN_DEVICES = 5

/** `postern check`. */
export function registerCheck(program: Command, shell: Shell): void {
  program
    .command("check")
    .description("Look at configuration, ports, DNS, postmaster and certificates; exit code 1 when something is wrong.")
    .option("--no-dns", "ask no DNS server")
    .option("--json", "one JSON value on stdout")
    .action(async (_options: unknown, command: Command) => {
      const options = optionsOf<{ readonly dns: boolean }>(command)
      const findings = await look(options, shell.starters)
      if (options.json) printJson(findings)
      else for (const { state, about, text } of findings) print(`${state.padEnd(5)}  ${about}: ${text}`)
      if (findings.some((finding) => finding.state === "wrong")) shell.exitWith(1)
    })
}

async function look(
  options: CommonOptions & { readonly dns: boolean },
  starters: Starters,
): Promise<readonly Finding[]> {
  using instance = openInstance(options)
  const { config, people } = instance
  const running = presentProcesses(instance.database, new Date()).length > 0
  return [
    ok("configuration", config.file),
    ...config.warnings.map((text) => note("configuration", text)),
    privacy(config),
    ...ownership(config),
    ...unjudged(config),
    ...(await ports(config, running)),
    ...config.domains.map((domain) => postmaster(people, domain)),
    ...serverCertificates(config),
    ...certificateAuthority(config),
    ...gatewayKeyFindings(instance),
    ...meshFindings(instance),
    ...standInFindings(config),
    ...forwardingFindings(instance),
    ...keyless(instance),
    ...ownKeys(people),
    ...correspondentKeys(instance),
    ...upstreamCredentials(instance),
    ...(await scanners(config, starters)),
    ...config.domains.flatMap((domain) => dkimFiles(domain, config)),
    ...(options.dns ? (await Promise.all(config.domains.map((domain) => checkDns(domain, instance)))).flat() : []),
  ]
}

function privacy({ secrets }: Config): Finding {
  const open = (statSync(secrets, { throwIfNoEntry: false })?.mode ?? 0o700) & 0o077
  return open === 0
    ? ok("secrets", "for their owner only")
    : wrong("secrets", `${secrets} can be read by others: chmod 700`)
}

/** The server is not root where they are not root's. */
function ownership(config: Config): readonly Finding[] {
  const made = madeByRoot(config)
  if (made.length === 0) return []
  const more = made.length === 1 ? "" : ` and ${made.length - 1} more`
  const owner = statSync(config.secrets).uid
  return [
    wrong(
      "secrets",
      `${made[0]}${more} is root's, and user ${owner} cannot read it: chown -R ${owner} secrets and data`,
    ),
  ]
}

/** Mail that comes by way of this machine is not authenticated, which a proxy in front of us may not be meant for. */
function unjudged({ listen, policy }: Config): readonly Finding[] {
  const { mx } = listen
  if (mx === undefined || !isLoopback(mx.host) || policy.authentication === "off") return []
  const trusted = policy.trusted.filter(({ address }) => isLoopback(address))
  if (trusted.length === 0) return []
  const names = trusted.map(({ address, prefixBits }) => `${address}/${prefixBits}`).join(", ")
  return [
    note("policy.trusted", `listen.mx is on this machine, and what comes from it (${names}) is not authenticated`),
  ]
}

async function ports({ listen }: Config, running: boolean): Promise<readonly Finding[]> {
  const found = await Promise.all(
    Object.entries(listen).map(async ([name, address]) => portFinding(name, address, running)),
  )
  return found.length > 0 ? found : [wrong("listen", "no listener is configured: nothing would be served")]
}

async function portFinding(name: string, address: ListenAddress, running: boolean): Promise<Finding> {
  const about = `listen.${name}`
  const where = written(address)
  const refusal = await whyNot(address)
  if (refusal === null)
    return running ? note(about, `${where}: nobody listens, though a server runs`) : ok(about, `${where} is free`)
  const isTaken = systemCode(refusal) === "EADDRINUSE"
  if (isTaken && running) return ok(about, `${where} is in use, a server of this instance runs`)
  return wrong(about, `${where}: ${isTaken ? "another program listens there" : whyNotListening(refusal, address.port)}`)
}

/** @returns the system's error when nobody can listen there, null when one can */
function whyNot({ host, port }: ListenAddress): Promise<Error | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once("error", resolve)
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)))
  })
}

// RFC 5321 §4.5.1
function postmaster(people: People, domain: string): Finding {
  const meaning = people.resolve(parseAddress(`postmaster@${domain}`))
  return meaning.kind === "accounts"
    ? ok(`postmaster@${domain}`, `goes to ${everybody(meaning).join(", ")}`)
    : wrong(`postmaster@${domain}`, "nobody gets it: add an account")
}

function serverCertificates(config: Config): readonly Finding[] {
  const { tls } = config
  try {
    const certificates = pemDecode("CERTIFICATE", readFileSync(tls.certificate, "utf8"))
    const [own] = certificates
    if (own === undefined) return [wrong("tls.certificate", `${tls.certificate} has no certificate`)]
    readFileSync(tls.key)
    const nearDays = config.tls.acme === null ? NEAR_DAYS : nearRenewed(readCertificate(own))
    const dates = certificates.map((der, at) =>
      expiry(at === 0 ? "tls.certificate" : "tls.certificate, its authority", readCertificate(der).notAfter, nearDays),
    )
    return [...dates, ...unnamed(own, config), ...unnamedByPolicy(own, config)]
  } catch (error) {
    return [wrong("tls", error instanceof Error ? error.message : String(error))]
  }
}

/** Names that other servers come by to a policy of MTA-STS, and to the mail exchanger that it names (RFC 8461 §3.3, §4.2). */
function unnamedByPolicy(certificate: Uint8Array, { domains, hostname, policy, tls }: Config): readonly Finding[] {
  if (policy.mtaSts === "off") return []
  const state = policy.mtaSts === "enforce" ? wrong : note
  const others = new Set(tls.names.map(({ name }) => name))
  const hosts = [hostname, ...domains.map((domain) => `mta-sts.${domain}`)]
  return hosts
    .filter((host) => !certificateNames(certificate, host) && !others.has(host))
    .map((host) => state("policy.mtaSts", `no certificate names ${host}: other servers will not deliver`))
}

/** What the CA said last; wrong while it is not the CA's certificate that is shown. */
function certificateAuthority(config: Config): readonly Finding[] {
  const { acme } = serverCertificateView(config)
  if (acme === null) return []
  if (acme.last === null) return [note("tls.acme", `${acme.directory} was not asked yet; a server asks when it starts`)]
  const text = lastAttempt(acme.last)
  if (acme.last.outcome === "issued" && acme.shown) return [ok("tls.acme", text)]
  return [
    acme.shown ? note("tls.acme", text) : wrong("tls.acme", `no certificate of ${acme.directory} is shown; ${text}`),
  ]
}

/** Names that clients come by and do not find in the server's certificate. */
function unnamed(certificate: Uint8Array, { clients, domains }: Config): readonly Finding[] {
  const lacks = (host: string): boolean => !certificateNames(certificate, host)
  const services = new Set([...clients.imap, ...clients.smtp].map(({ host }) => host))
  const helpers =
    clients.https === null ? [] : domains.flatMap((domain) => [`autoconfig.${domain}`, `autodiscover.${domain}`])
  const text = (host: string): string => `does not name ${host}`
  return [
    ...[...services]
      .filter(lacks)
      .map((host) => wrong("tls.certificate", `${text(host)}: mail clients will refuse it`)),
    ...helpers
      .filter(lacks)
      .map((host) => note("tls.certificate", `${text(host)}: clients cannot set themselves up by it`)),
  ]
}

/** As after a restore of data/ alone. */
function keyless({ config, people, recryptionKeys }: OpenInstance): readonly Finding[] {
  const missing = recryptionKeys.keyless()
  const names = people
    .accounts()
    .flatMap(({ address }) => people.devices(address))
    .filter(({ id, revokedAt }) => revokedAt === null && missing.has(id))
    .map(({ account, name }) => `${name} of ${account}`)
  if (names.length === 0) return []
  const more = names.length > SHOWN_DEVICES ? `, and ${names.length - SHOWN_DEVICES} more` : ""
  const shown = names.slice(0, SHOWN_DEVICES).join(", ")
  return [
    wrong(
      "secrets",
      `${config.secrets}/recryption lacks the keys of ${shown}${more}: they can read nothing; restore secrets/, or revoke and add them again`,
    ),
  ]
}

function ownKeys(people: People): readonly Finding[] {
  return peopleEndings(people).map(({ about, until, remedy }) => {
    const found = expiry(about, until)
    return found.state === "ok" ? found : { ...found, text: `${found.text}: ${remedy}` }
  })
}

/** Whether what signs for our people can, and how long. */
function gatewayKeyFindings({ people, gatewayKeys }: OpenInstance): readonly Finding[] {
  return people.accounts().flatMap((account) => {
    const { address } = account
    const about = `gateway key of ${address}`
    try {
      const active = gatewayKeys.of(address).filter((key) => signingKeyState(key) === "active")
      return active.map((key) => {
        gatewayKeys.secret(key).fill(0)
        const { notAfter } = gatewayKeyView(key, account)
        if (notAfter === null)
          return wrong(about, `${key.format}: may not sign any more: postern gateway-key add ${address}`)
        return expiry(`${about} (${key.format})`, new Date(notAfter))
      })
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      return [wrong(about, `${error.message}; what it would sign waits`)]
    }
  })
}

/** Only those that are near their end: the rest is other people's business. */
function correspondentKeys({ database }: OpenInstance): readonly Finding[] {
  const now = new Date()
  return correspondentEndings(new KeptKeyMemory(database).endingLately(now, NEAR_DAYS)).map((ending) =>
    note(ending.about, `ends ${leftText(ending, now)}: ${ending.remedy}`),
  )
}

/** Accounts whose mailboxes the proxy cannot open. */
function upstreamCredentials({ config, people, upstreamCredentials }: OpenInstance): readonly Finding[] {
  if (config.imap.kind === "embedded" || config.imap.login.kind !== "stored") return []
  return people.accounts().map(({ address }) => {
    const about = `upstream of ${address}`
    try {
      const stored = upstreamCredentials.read(address)
      if (stored === null) return wrong(about, `no credential: postern upstream set ${address}`)
      const { credential } = stored
      return credential.kind === "oauth" && credential.answer?.kind === "refused"
        ? wrong(about, `the token endpoint says ${credential.answer.reason}: postern upstream set ${address}`)
        : ok(about, `${credential.kind} of ${credential.user}`)
    } catch (error) {
      if (!hasCode(error, "STATE_CORRUPT")) throw error
      return wrong(about, `its credential cannot be opened: postern upstream set ${address}`)
    }
  })
}

/** What is away defers all mail that it should see, or none of it is looked at. */
async function scanners(config: Config, starters: Starters): Promise<readonly Finding[]> {
  const { clamd, rspamd, hook, whenAway } = config.scan
  if (clamd === null && rspamd === null && hook === null) return []
  return (await starters.tryScanners(config)).map(({ scanner, outcome, because }) => {
    const about = `scan.${scanner}`
    if (outcome === "clean") return ok(about, because)
    if (outcome !== "away") return note(about, `says ${outcome} of a message with nothing in it: ${because}`)
    return wrong(about, `${because}; ${whenAway === "defer" ? "mail is deferred" : "mail passes unseen"}`)
  })
}

function expiry(about: string, notAfter: Date, nearDays: number = NEAR_DAYS): Finding {
  const days = Math.floor((notAfter.getTime() - Date.now()) / DAY_MS)
  const day = notAfter.toISOString().slice(0, 10)
  if (days < 0) return wrong(about, `expired on ${day}`)
  return days < nearDays ? wrong(about, `expires on ${day}, in ${days} days`) : ok(about, `until ${day}`)
}
