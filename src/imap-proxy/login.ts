import { setTimeout as delay } from "node:timers/promises"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { greetingCapabilities } from "./capabilities.ts"
import type { Client } from "./client.ts"
import type { DeviceSession, Devices, ProxyLimits } from "./ports.ts"
import type { Command, CommandEvent } from "./wire/command-reader.ts"
import { octetsOf, textOf } from "./wire/tokens.ts"

/** How the state before login ended. */
export type LoginOutcome =
  /** The tagged OK is still to be sent, when the upstream is connected too. */
  | { readonly kind: "authenticated"; readonly tag: string; readonly session: DeviceSession }
  /** `OK` is sent, and the client begins TLS on the bare stream. */
  | { readonly kind: "startTls" }
  | { readonly kind: "ended" }

export interface LoginOptions {
  readonly devices: Devices
  readonly limits: ProxyLimits
  readonly log: Log
}

/** Counts wrong passwords of one connection, over TLS and login attempts. */
export interface LoginTries {
  failed: number
}

/** The not authenticated state (RFC 9051 §3.1, §6.2), until a device has logged in, TLS starts, or the client goes. */
export async function login(client: Client, tries: LoginTries, options: LoginOptions): Promise<LoginOutcome> {
  for (;;) {
    const event = await nextCommand(client)
    if (event === null) return { kind: "ended" }
    if (event.kind === "bad") {
      await client.say(`${event.tag ?? "*"} BAD ${event.reason}`)
      continue
    }
    const outcome = await answer(client, event.command, tries, options)
    if (outcome !== null) return outcome
  }
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
  tries: LoginTries,
  options: LoginOptions,
): Promise<LoginOutcome | null> {
  const { tag } = command
  switch (command.name) {
    case "CAPABILITY":
      await client.say(`* CAPABILITY ${greetingCapabilities(client.secure)}`)
      await client.say(`${tag} OK CAPABILITY completed`)
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
      return authenticate(client, command, tries, options)
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

interface Credentials {
  readonly username: string
  readonly password: string
}

async function authenticate(
  client: Client,
  command: Command,
  tries: LoginTries,
  options: LoginOptions,
): Promise<LoginOutcome | null> {
  const { tag } = command
  if (!client.secure) {
    await client.say(`${tag} ${PRIVACY_REQUIRED}`)
    return null
  }
  const credentials = command.name === "LOGIN" ? loginArguments(command) : await saslExchange(client, command)
  if (credentials === null) return { kind: "ended" }
  if (typeof credentials === "string") {
    await client.say(`${tag} ${credentials}`)
    return null
  }
  const session = await tryLogin(client, credentials, options)
  if (session === "unavailable") {
    await client.say(`${tag} NO [UNAVAILABLE] try again later`)
    return null
  }
  if (session !== null) return { kind: "authenticated", tag, session }
  return failed(client, tag, tries, options)
}

async function tryLogin(
  client: Client,
  { username, password }: Credentials,
  options: LoginOptions,
): Promise<DeviceSession | null | "unavailable"> {
  try {
    return await options.devices.authenticate(username, password, client.address)
  } catch (error) {
    options.log.error("imap.login.unavailable", { remote: client.address }, error)
    return "unavailable"
  }
}

async function failed(
  client: Client,
  tag: string,
  tries: LoginTries,
  { limits, log }: LoginOptions,
): Promise<LoginOutcome | null> {
  tries.failed += 1
  log.warn("imap.login.failed", { remote: client.address, tries: tries.failed })
  await delay(limits.failureDelayMs)
  await client.say(`${tag} NO [AUTHENTICATIONFAILED] wrong name or password`)
  if (tries.failed < limits.loginTries) return null
  await client.say("* BYE too many tries")
  return { kind: "ended" }
}

/** Credentials, or what to answer instead. */
function loginArguments(command: Command): Credentials | string {
  const [username, password] = command.arguments.map(octetsOf)
  if (username == null || password == null || command.arguments.length !== 2)
    return "BAD LOGIN takes a name and a password"
  return { username: utf8(username), password: utf8(password) }
}

/** RFC 4616 PLAIN and the old LOGIN mechanism, with and without initial response (RFC 4959). null: the client is gone. */
async function saslExchange(client: Client, command: Command): Promise<Credentials | string | null> {
  const mechanism = textOf(command.arguments[0])?.toUpperCase()
  const initial = textOf(command.arguments[1])
  if (command.arguments.length > 2) return "BAD too many arguments"
  if (mechanism === "PLAIN") {
    const response = await saslResponse(client, initial, "")
    if (response === null || typeof response === "string") return response
    return plainCredentials(response)
  }
  if (mechanism !== "LOGIN") return "NO [CANNOT] mechanism not supported"
  const username = await saslResponse(client, initial, "VXNlcm5hbWU6")
  if (username === null || typeof username === "string") return username
  const password = await saslResponse(client, null, "UGFzc3dvcmQ6")
  if (password === null || typeof password === "string") return password
  return { username: utf8(username), password: utf8(password) }
}

/** The client's next response, decoded; text: what to answer instead; null: the client is gone. */
async function saslResponse(
  client: Client,
  initial: string | null,
  challenge: string,
): Promise<Uint8Array | string | null> {
  if (initial !== null) return fromBase64(initial === "=" ? "" : initial)
  client.reader.expectLine()
  await client.say(`+ ${challenge}`)
  const event = await client.next()
  if (event?.kind !== "line") return null
  const line = Buffer.from(event.octets).toString("latin1")
  return line === "*" ? "BAD cancelled" : fromBase64(line)
}

function fromBase64(text: string): Uint8Array | string {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? Buffer.from(text, "base64") : "BAD not base64"
}

// RFC 4616 §2: [authzid] NUL authcid NUL passwd
function plainCredentials(response: Uint8Array): Credentials | string {
  const [authzid, authcid, password, ...more] = utf8(response).split("\0")
  if (authzid === undefined || authcid === undefined || password === undefined || more.length > 0)
    return "BAD malformed PLAIN"
  if (authzid !== "" && authzid.toLowerCase() !== authcid.toLowerCase()) {
    return "NO [AUTHORIZATIONFAILED] only for oneself"
  }
  return { username: authcid, password }
}

function utf8(octets: Uint8Array): string {
  return Buffer.from(octets).toString("utf8")
}

const PRIVACY_REQUIRED = "NO [PRIVACYREQUIRED] TLS first"
