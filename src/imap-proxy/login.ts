import { setTimeout as delay } from "node:timers/promises"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import { writtenKey } from "../message/address.ts"
import { greetingCapabilities, type LoginChoice } from "./capabilities.ts"
import type { Client } from "./client.ts"
import type { CertifiedDevice, CertifiedDevices, DeviceSession, Devices, ProxyLimits } from "./ports.ts"
import { type Credentials, credentialsOf, type External, type Password } from "./sasl.ts"
import type { Command, CommandEvent } from "./wire/command-reader.ts"

/** How the state before login ended. */
export type LoginOutcome =
  /** The tagged OK is still to be sent, when the upstream is connected too. */
  | { readonly kind: "authenticated"; readonly tag: string; readonly session: DeviceSession }
  /** `OK` is sent, and the client begins TLS on the bare stream. */
  | { readonly kind: "startTls" }
  | { readonly kind: "ended" }

export interface LoginOptions {
  readonly devices: Devices
  /** Present: the listener asks for certificates, and nobody logs in without a device's. */
  readonly certificates?: CertifiedDevices
  readonly limits: ProxyLimits
  readonly log: Log
  readonly counters: Pick<Counters, "add">
}

/** What a connection has shown of itself, over TLS and login attempts. */
export interface Visitor {
  /** Logins that were refused. */
  failed: number
  /** The key of the certificate that it has shown (see `shownKey`); null: none. */
  key: Uint8Array | null
}

/** The not authenticated state (RFC 9051 §3.1, §6.2), until a device has logged in, TLS starts, or the client goes. */
export async function login(client: Client, visitor: Visitor, options: LoginOptions): Promise<LoginOutcome> {
  for (;;) {
    const event = await nextCommand(client)
    if (event === null) return { kind: "ended" }
    if (event.kind === "bad") {
      await client.say(`${event.tag ?? "*"} BAD ${event.reason}`)
      continue
    }
    const outcome = await answer(client, event.command, visitor, options)
    if (outcome !== null) return outcome
  }
}

/** How this client can log in. */
export function loginChoice(client: Client, { key }: Visitor, { certificates }: LoginOptions): LoginChoice {
  if (!client.secure) return "afterTls"
  if (certificates === undefined) return "password"
  return key !== null && certificates.owner(key) !== null ? "certificate" : "none"
}

/** Whole commands; a literal is asked for, unless it would carry a password in clear or is too large. */
async function nextCommand(client: Client): Promise<(CommandEvent & { kind: "command" | "bad" }) | null> {
  for (;;) {
    const event = await client.next()
    if (event === null || event.kind === "command" || event.kind === "bad") return event
    if (event.kind !== "literal") throw new GatewayError("PROTOCOL", "imap: unexpected data before login")
    const { literal, command } = event
    if (client.reader.collectable && (client.secure || command.name !== "LOGIN")) {
      client.reader.collect()
      if (literal.synchronizing) await client.say("+ OK")
    } else if (literal.synchronizing) {
      client.reader.refuse()
      await client.say(`${command.tag} ${client.secure ? "BAD literal too large" : PRIVACY_REQUIRED}`)
    } else client.reader.discard()
  }
}

async function answer(
  client: Client,
  command: Command,
  visitor: Visitor,
  options: LoginOptions,
): Promise<LoginOutcome | null> {
  const { tag } = command
  switch (command.name) {
    case "CAPABILITY":
      // One write: TLS makes a record of each.
      await client.say(
        `* CAPABILITY ${greetingCapabilities(loginChoice(client, visitor, options))}\r\n${tag} OK CAPABILITY completed`,
      )
      return null
    case "NOOP":
      await client.say(`${tag} OK NOOP completed`)
      return null
    case "ID":
      await client.say('* ID ("name" "Postern")')
      await client.say(`${tag} OK ID completed`)
      return null
    case "LOGOUT":
      await client.say("* BYE logging out")
      await client.say(`${tag} OK LOGOUT completed`)
      return { kind: "ended" }
    case "STARTTLS":
      return startTls(client, tag)
    case "LOGIN":
    case "AUTHENTICATE":
      return authenticate(client, command, visitor, options)
    default:
      await client.say(`${tag} BAD not possible before login`)
      return null
  }
}

/** RFC 9051 §6.2.1: whatever was sent before TLS must not be taken as sent under it; pipelined octets are an attack. */
async function startTls(client: Client, tag: string): Promise<LoginOutcome | null> {
  if (client.secure) {
    await client.say(`${tag} BAD TLS is active`)
    return null
  }
  if (client.reader.bufferedOctets > 0) {
    await client.say("* BYE octets behind STARTTLS")
    return { kind: "ended" }
  }
  await client.say(`${tag} OK begin TLS`)
  return { kind: "startTls" }
}

async function authenticate(
  client: Client,
  command: Command,
  visitor: Visitor,
  options: LoginOptions,
): Promise<LoginOutcome | null> {
  const { tag } = command
  if (!client.secure) {
    await client.say(`${tag} ${PRIVACY_REQUIRED}`)
    return null
  }
  const said = await credentialsOf(client, command, options.certificates !== undefined)
  switch (said.kind) {
    case "gone":
      return { kind: "ended" }
    case "answer":
      await client.say(`${tag} ${said.text}`)
      return null
  }
  const checked = await tryLogin(client, said, visitor, options)
  if (typeof checked !== "string") return { kind: "authenticated", tag, session: checked }
  return refused(client, tag, checked, visitor, options)
}

async function tryLogin(
  client: Client,
  credentials: Credentials,
  { key }: Visitor,
  options: LoginOptions,
): Promise<DeviceSession | Refusal> {
  try {
    const { certificates } = options
    if (certificates !== undefined) return await tryCertificate(client, credentials, key, certificates, options)
    return credentials.kind === "password" ? await tryPassword(client, credentials, options) : "uncertified"
  } catch (error) {
    options.log.error("imap.login.unavailable", { remote: client.address }, error)
    return "unavailable"
  }
}

async function tryPassword(
  client: Client,
  { username, password }: Password,
  { devices }: LoginOptions,
): Promise<DeviceSession | Refusal> {
  return (await devices.authenticate(username, password, client.address)) ?? "wrong"
}

/** Where certificates are asked for, nobody gets in without one: a password counts only beside the certificate of its own device. */
async function tryCertificate(
  client: Client,
  credentials: Credentials,
  key: Uint8Array | null,
  certificates: CertifiedDevices,
  options: LoginOptions,
): Promise<DeviceSession | Refusal> {
  const owner = key === null ? null : certificates.owner(key)
  if (key === null || owner === null) return "uncertified"
  if (owner.expired) return "expired"
  if (credentials.kind === "external")
    return isOneself(credentials, owner) ? ((await certificates.logIn(key)) ?? "uncertified") : "forAnother"
  const session = await tryPassword(client, credentials, options)
  if (typeof session === "string") return session
  return session.account === owner.account && session.device === owner.device ? session : "wrong"
}

function isOneself({ authzid }: External, { account }: CertifiedDevice): boolean {
  return authzid === "" || writtenKey(authzid) === account
}

async function refused(
  client: Client,
  tag: string,
  refusal: Refusal,
  visitor: Visitor,
  { limits, log, counters }: LoginOptions,
): Promise<LoginOutcome | null> {
  counters.add("postern_imap_logins_total", { outcome: refusal })
  if (refusal !== "unavailable") {
    visitor.failed += 1
    log.warn("imap.login.failed", { remote: client.address, tries: visitor.failed, reason: refusal })
    await delay(limits.failureDelayMs)
  }
  await client.say(`${tag} NO ${REFUSALS[refusal]}`)
  if (visitor.failed < limits.loginTries) return null
  await client.say("* BYE too many tries")
  return { kind: "ended" }
}

/** RFC 5530. UNAVAILABLE says "come back", where AUTHENTICATIONFAILED makes clients ask for a new password. */
const REFUSALS = {
  wrong: "[AUTHENTICATIONFAILED] wrong name or password",
  uncertified: "[AUTHENTICATIONFAILED] no certificate of a device that may log in",
  expired: "[EXPIRED] this device's certificate has ended and must be renewed",
  forAnother: "[AUTHORIZATIONFAILED] only for oneself",
  limited: "[UNAVAILABLE] too many wrong passwords from your network, try again later",
  unavailable: "[UNAVAILABLE] try again later",
} as const
type Refusal = keyof typeof REFUSALS

const PRIVACY_REQUIRED = "NO [PRIVACYREQUIRED] TLS first"
