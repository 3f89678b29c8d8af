import { readFileSync } from "node:fs"
import { get } from "node:https"
import { join } from "node:path"
import { rootCertificates } from "node:tls"
import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { localPartHash } from "../identity/fingerprint.ts"
import { type ProfileMailPublic, verifyProfile } from "../identity/profile.ts"
import { type Address, addressKey, formatAddress, parseAddress } from "../message/address.ts"
import type { People } from "../store/people.ts"
import { certificatesOf, knownAccount } from "./account.ts"
import { type CommonOptions, type OpenInstance, openInstance, optionsOf, print, printJson } from "./shell.ts"

/** `postern profile`. */
export function registerProfile(program: Command): void {
  const profile = program
    .command("profile")
    .description("Signed mail profiles: what somebody tells all who write to them.")
  profile
    .command("show <address>")
    .description("The published profile of an account here, or with --remote of anybody.")
    .option("--remote", "ask the domain's own server over HTTPS", false)
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => show(address, optionsOf(command)))
  profile
    .command("lookup <address>")
    .description("Ask every source of keys for an address; tell what each answered, and what would be used.")
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => lookup(address, optionsOf(command)))
}

async function show(written: string, options: CommonOptions & { readonly remote: boolean }): Promise<void> {
  using instance = openInstance(options)
  const address = parseAddress(written)
  const text = options.remote ? await remoteProfile(address, instance.config) : localProfile(instance.people, written)
  if (text === null) throw new GatewayError("ACCOUNT_UNKNOWN", `profile ${written}: its server has none`)
  const profile = verifyProfile(text)
  const certificates = options.remote
    ? publishedKeys(profile)
    : certificatesOf(knownAccount(instance.people.account(written), written))
  if (options.json) {
    printJson({ address: profile.address, udf: profile.udf, certificates, profile: text })
    return
  }
  print(`${profile.address}  ${profile.name}`)
  print(`fingerprint of the personal root: ${profile.udf}; issued ${profile.issuedAt.toISOString()}`)
  for (const { encrypt, prefer, require } of profile.connection)
    print(`${encrypt}: prefers ${prefer}, requires ${require ?? "nothing"}`)
  for (const key of Object.values(certificates)) print(key.trimEnd())
}

function localProfile(people: People, written: string): string {
  return knownAccount(people.account(written), written).profile
}

function publishedKeys({ connection }: ProfileMailPublic): { readonly smime?: string; readonly openpgp?: string } {
  const key = (encrypt: "S/MIME" | "OpenPGP") => connection.find((entry) => entry.encrypt === encrypt)?.key
  const [smime, openpgp] = [key("S/MIME"), key("OpenPGP")]
  return { ...(smime === undefined ? {} : { smime }), ...(openpgp === undefined ? {} : { openpgp }) }
}

/** What one source said. */
interface Answer {
  readonly source: string
  /** "no answer" is not "nothing". */
  readonly outcome: "found" | "nothing" | "no answer"
  readonly detail: string
  readonly ms: number
}

async function lookup(written: string, options: CommonOptions): Promise<void> {
  using instance = openInstance(options)
  const address = parseAddress(written)
  const answers = [
    await ask("account here", () => accountAnswer(instance, address)),
    await ask("pinned certificate", () => pinnedAnswer(instance.people, address)),
    await ask("mail profile", () => profileAnswer(address, instance.config)),
  ]
  const [local, pinned] = answers
  const used = [local, pinned].find((answer) => answer?.outcome === "found")
  const decision =
    used === undefined
      ? { use: null, why: "no account here and no pinned certificate: relayed as it is" }
      : { use: used.source, why: `first source that has a key: ${used.detail}` }
  if (options.json) {
    printJson({ address: addressKey(address), answers, ...decision })
    return
  }
  for (const { source, outcome, detail, ms } of answers)
    print(`${source}: ${outcome}${detail === "" ? "" : ` (${detail})`}, ${ms} ms`)
  print(decision.use === null ? decision.why : `would use: ${decision.use}, ${decision.why}`)
}

async function ask(source: string, question: () => string | null | Promise<string | null>): Promise<Answer> {
  const start = performance.now()
  const ms = () => Math.round(performance.now() - start)
  try {
    const detail = await question()
    return { source, outcome: detail === null ? "nothing" : "found", detail: detail ?? "", ms: ms() }
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return { source, outcome: "no answer", detail, ms: ms() }
  }
}

function accountAnswer({ people }: OpenInstance, address: Address): string | null {
  const meaning = people.resolve(address)
  return meaning.kind === "accounts" ? meaning.accounts.join(", ") : null
}

function pinnedAnswer(people: People, address: Address): string | null {
  const pinned = people.pinned(addressKey(address))
  return pinned.length === 0
    ? null
    : pinned.map(({ format, addedAt }) => `${format} since ${addedAt.toISOString()}`).join(", ")
}

async function profileAnswer(address: Address, config: Config): Promise<string | null> {
  const text = await remoteProfile(address, config)
  if (text === null) return null
  const profile = verifyProfile(text)
  return `${profile.connection.map((entry) => entry.encrypt).join(", ")}, root ${profile.udf}`
}

/** A person waits for the answer. */
const TIMEOUT_MS = 10_000
const MAX_PROFILE_OCTETS = 1_000_000

/** The profile as the domain's own server publishes it; for our own domains our own listener is asked. @returns null when it says that there is none */
async function remoteProfile(address: Address, config: Config): Promise<string | null> {
  const ours = config.domains.includes(address.domain) ? config.listen.https : undefined
  const local = encodeURIComponent(address.localPart)
  const url = `https://${address.domain}/.well-known/mail-profile/${address.domain}/${localPartHash(address.localPart)}?l=${local}`
  const own =
    ours === undefined
      ? {}
      : { hostname: loopbackFor(ours.host), port: ours.port, ca: [...rootCertificates, ...ownAuthority(config)] }
  return fetchText(
    url,
    { ...own, servername: address.domain, headers: { host: address.domain } },
    formatAddress(address),
  )
}

function fetchText(url: string, options: object, what: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown): void =>
      reject(new GatewayError("UPSTREAM_UNAVAILABLE", `profile of ${what}: ${reason}`, { cause }))
    const request = get(url, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
      const pieces: Uint8Array[] = []
      response.on("data", (piece: Uint8Array) => {
        pieces.push(piece)
        if (pieces.reduce((sum, one) => sum + one.length, 0) > MAX_PROFILE_OCTETS) request.destroy()
      })
      response.on("error", (cause) => fail(cause.message, cause))
      response.on("end", () => {
        if (response.statusCode === 404) return resolve(null)
        if (response.statusCode !== 200) return fail(`HTTP status ${response.statusCode}`)
        resolve(Buffer.concat(pieces).toString("utf8"))
      })
    })
    request.on("error", (cause) => fail(cause.message, cause))
  })
}

function loopbackFor(host: string): string {
  if (host === "::") return "localhost"
  return host === "0.0.0.0" ? "127.0.0.1" : host
}

/** The authority that `postern init` made, where it is still beside the certificate. */
function ownAuthority(config: Config): readonly string[] {
  try {
    return [readFileSync(join(config.tls.certificate, "..", "ca.pem"), "utf8")]
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return []
    throw error
  }
}
