import type { Client } from "./client.ts"
import type { Command } from "./wire/command-reader.ts"
import { octetsOf, textOf } from "./wire/tokens.ts"

/** A name, and the password of a device. */
export interface Password {
  readonly kind: "password"
  readonly username: string
  readonly password: string
}

/** RFC 4422 Appendix A: who it is, TLS has shown; `authzid` is who it wants to act as, empty: itself. */
export interface External {
  readonly kind: "external"
  readonly authzid: string
}

/** What a client says to be let in. */
export type Credentials = Password | External

/** There are no credentials in it: this is the answer, behind the tag. */
interface Answer {
  readonly kind: "answer"
  readonly text: string
}

/** The client went away before it had said all. */
type Gone = typeof GONE

/** One response of the client's, decoded. */
interface Response {
  readonly kind: "response"
  readonly octets: Uint8Array
}

/** Hears what LOGIN, or AUTHENTICATE with its continuations, has to say. `external`: certificates are asked for, and EXTERNAL can be used. */
export async function credentialsOf(
  client: Client,
  command: Command,
  external: boolean,
): Promise<Credentials | Answer | Gone> {
  return command.name === "LOGIN" ? loginArguments(command) : saslExchange(client, command, external)
}

function loginArguments(command: Command): Password | Answer {
  const [username, password] = command.arguments.map(octetsOf)
  if (username == null || password == null || command.arguments.length !== 2)
    return answer("BAD LOGIN takes a name and a password")
  return { kind: "password", username: utf8(username), password: utf8(password) }
}

/** RFC 4616 PLAIN, the old LOGIN mechanism and EXTERNAL, with and without initial response (RFC 4959). */
async function saslExchange(client: Client, command: Command, external: boolean): Promise<Credentials | Answer | Gone> {
  if (command.arguments.length > 2) return answer("BAD too many arguments")
  const mechanism = textOf(command.arguments[0])?.toUpperCase()
  const first = (challenge: string) => firstResponse(client, textOf(command.arguments[1]), challenge)
  if (mechanism === "PLAIN") {
    const response = await first("")
    return response.kind === "response" ? plainCredentials(response.octets) : response
  }
  if (mechanism === "EXTERNAL" && external) {
    const response = await first("")
    return response.kind === "response" ? { kind: "external", authzid: utf8(response.octets) } : response
  }
  if (mechanism !== "LOGIN") return answer("NO [CANNOT] mechanism not supported")
  const username = await first("VXNlcm5hbWU6")
  if (username.kind !== "response") return username
  const password = await nextResponse(client, "UGFzc3dvcmQ6")
  if (password.kind !== "response") return password
  return { kind: "password", username: utf8(username.octets), password: utf8(password.octets) }
}

/** What came with the command, else what the client says to the challenge. */
async function firstResponse(
  client: Client,
  initial: string | null,
  challenge: string,
): Promise<Response | Answer | Gone> {
  if (initial === null) return nextResponse(client, challenge)
  // RFC 4959 §3: "=" stands for a response of no octets.
  return fromBase64(initial === "=" ? "" : initial)
}

async function nextResponse(client: Client, challenge: string): Promise<Response | Answer | Gone> {
  client.reader.expectLine()
  await client.say(`+ ${challenge}`)
  const event = await client.next()
  if (event?.kind !== "line") return GONE
  const line = Buffer.from(event.octets).toString("latin1")
  return line === "*" ? answer("BAD cancelled") : fromBase64(line)
}

function fromBase64(text: string): Response | Answer {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return answer("BAD not base64")
  return { kind: "response", octets: Buffer.from(text, "base64") }
}

// RFC 4616 §2: [authzid] NUL authcid NUL passwd
function plainCredentials(response: Uint8Array): Password | Answer {
  const [authzid, authcid, password, ...more] = utf8(response).split("\0")
  if (authzid === undefined || authcid === undefined || password === undefined || more.length > 0)
    return answer("BAD malformed PLAIN")
  if (authzid !== "" && authzid.toLowerCase() !== authcid.toLowerCase())
    return answer("NO [AUTHORIZATIONFAILED] only for oneself")
  return { kind: "password", username: authcid, password }
}

function answer(text: string): Answer {
  return { kind: "answer", text }
}

function utf8(octets: Uint8Array): string {
  return Buffer.from(octets).toString("utf8")
}

const GONE = { kind: "gone" } as const
