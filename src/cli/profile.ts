import { lookup as addressOf } from "node:dns/promises"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { rootCertificates } from "node:tls"
import type { Command } from "commander"
import type { Config, ListenAddress } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { verifyMailProfile } from "../identity/mail-profile.ts"
import { type ProfileMailPublic, verifyProfile } from "../identity/profile.ts"
import { type Address, addressKey, parseAddress } from "../message/address.ts"
import { dnsAddresses } from "../net/addresses.ts"
import { type WebRules, webClient } from "../net/web.ts"
import { publishedMeshProfile, publishedProfile } from "../profiles/sources/mail-profile.ts"
import { KeptProfiles } from "../store/kept-profiles.ts"
import { KeptKeyMemory } from "../store/key-memory.ts"
import { MailKeys } from "../store/mail-keys.ts"
import { certificatesOf } from "./account.ts"
import { knownAccount } from "./change.ts"
import { type LookupOptions, lookup } from "./lookup.ts"
import { publish } from "./publish.ts"
import {
  type CommonOptions,
  type OpenInstance,
  openInstance,
  optionsOf,
  print,
  printJson,
  type Shell,
} from "./shell.ts"

/** `postern profile`. */
export function registerProfile(program: Command, shell: Shell): void {
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
    .description(
      "Ask every source of keys for an address; tell what each answered, and what would become of mail to it.",
    )
    .option("--from <address>", "who would write (rules may look at the sender)")
    .option("--json", "one JSON value on stdout")
    .action(async (address: string, _options: unknown, command: Command) => {
      const options = optionsOf<LookupOptions>(command)
      using instance = openInstance(options)
      await lookup(address, instance, options, shell)
    })
  profile
    .command("publish <address>")
    .description(
      "Bring the OpenPGP certificate of an account to a keyserver that asks its reader before it publishes (VKS); this gateway answers that mail.",
    )
    .option("--keyserver <url>", "vks://HOST, such as vks://keys.openpgp.org (default: those of keys.keyservers)")
    .option("--status", "bring nothing; tell what became of it", false)
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => publish(address, optionsOf(command)))
  profile
    .command("forget <address>")
    .description(
      "Forget which keys an address had, and those that came with its mail: what was held because they are gone or others may leave (postern queue retry).",
    )
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => forget(address, optionsOf(command)))
}

async function show(written: string, options: CommonOptions & { readonly remote: boolean }): Promise<void> {
  using instance = openInstance(options)
  const address = parseAddress(written)
  const { text, mailProfile: second } = options.remote
    ? await remoteProfile(address, instance.config)
    : localProfile(instance, written)
  if (text === null) throw new GatewayError("ACCOUNT_UNKNOWN", `profile ${written}: its server has none`)
  const profile = verifyProfile(text)
  const certificates = options.remote
    ? publishedKeys(profile)
    : certificatesOf(knownAccount(instance.people.account(written), written))
  if (options.json) {
    const mailProfile = second === null ? null : Buffer.from(second).toString("utf8")
    printJson({ address: profile.address, udf: profile.udf, certificates, profile: text, mailProfile })
    return
  }
  print(`${profile.address}  ${profile.name}`)
  print(`fingerprint of the personal root: ${profile.udf}; issued ${profile.issuedAt.toISOString()}`)
  for (const { encrypt, prefer, require } of profile.connection)
    print(`${encrypt}: prefers ${prefer}, requires ${require ?? "nothing"}`)
  for (const line of second === null ? [] : meshLines(second)) print(line)
  for (const key of Object.values(certificates)) print(key.trimEnd())
}

/** What version 2 says beside. */
function meshLines(mailProfile: Uint8Array): readonly string[] {
  const { profile, connection } = verifyMailProfile(mailProfile)
  const service = connection.flatMap((entry) =>
    entry.protocol === "Mesh"
      ? [`over the Mesh: ${entry.service}, prefers ${entry.prefer}; device ${entry.deviceUdf} sends for it`]
      : [],
  )
  return [`in the Mesh: ${profile.udf}`, ...service]
}

/** Both versions of a profile, as published. */
interface Shown {
  /** null: there is none. */
  readonly text: string | null
  /** Version 2; null: there is none. */
  readonly mailProfile: Uint8Array | null
}

function localProfile({ people, meshAccounts }: OpenInstance, written: string): Shown {
  const { profile } = knownAccount(people.account(written), written)
  return { text: profile, mailProfile: meshAccounts.publishedOf(written)?.mailProfile ?? null }
}

function publishedKeys({ connection }: ProfileMailPublic): { readonly smime?: string; readonly openpgp?: string } {
  const key = (encrypt: "S/MIME" | "OpenPGP") => connection.find((entry) => entry.encrypt === encrypt)?.key
  const [smime, openpgp] = [key("S/MIME"), key("OpenPGP")]
  return { ...(smime === undefined ? {} : { smime }), ...(openpgp === undefined ? {} : { openpgp }) }
}

/** What is remembered keeps mail back when it is gone; an administrator who knows better says so here. */
function forget(written: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const address = addressKey(parseAddress(written))
  const { database } = instance
  const memories = [new MailKeys(database), new KeptProfiles(database), new KeptKeyMemory(database)]
  const keys = memories.reduce((sum, memory) => sum + memory.forget(address), 0)
  if (options.json) printJson({ address, forgotten: keys })
  else print(keys === 0 ? `${address}: nothing was remembered` : `${address}: ${keys} forgotten`)
}

/** A person waits for the answer. */
const TIMEOUT_MS = 10_000

/** The profile as the domain's own server publishes it; for our own domains our own listener is asked. */
async function remoteProfile(address: Address, config: Config): Promise<Shown> {
  const ours = config.domains.includes(address.domain) ? config.listen.https : undefined
  const ask = webClient(
    ours === undefined
      ? { resolve: dnsAddresses(config.dns.servers), timeoutMs: TIMEOUT_MS }
      : await ownListener(ours, address.domain, config),
  )
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const [{ published }, mailProfile] = await Promise.all([
    publishedProfile(ask, address, signal),
    publishedMeshProfile(ask, address, signal),
  ])
  return { text: published?.text ?? null, mailProfile }
}

/** Whatever DNS says of the domain. */
async function ownListener({ host, port }: ListenAddress, domain: string, config: Config): Promise<WebRules> {
  const { address } = await addressOf(loopbackFor(host))
  return {
    resolve: async (asked) => (asked === domain ? { kind: "addresses", addresses: [address] } : { kind: "no-name" }),
    port,
    authority: [...rootCertificates, ...ownAuthority(config)].join("\n"),
    isAllowed: () => true,
    timeoutMs: TIMEOUT_MS,
  }
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
