import { GatewayError } from "../../errors.ts"
import { type Address, addressKey, formatAddress, parseAddress } from "../../message/address.ts"
import type { AskWeb, WebAnswer } from "../../net/web.ts"

/** A verifying keyserver that an administrator named. */
export interface UploadPlace {
  /** "host" or "host:port". */
  readonly host: string
  readonly ask: AskWeb
}

/** What a verifying keyserver says of an address in a certificate that was brought to it. */
export type UploadStatus = "published" | "pending" | "unpublished" | "revoked"

/**
 * Brings a certificate to a verifying keyserver, and asks it to write to the address so that it may publish it
 * (keys.openpgp.org/about/api, "VKS": upload, request-verify). The certificate can then be found by its fingerprint, by the address once
 * who reads its mail has agreed.
 * @param certificate ASCII armor
 * @param fingerprint hexadecimal; the keyserver must have understood the same
 * @param beforeAsking called when it is about to be asked to write: its mail may come before its answer
 * @returns "published": it was already, and nobody is written to. "pending": the mail is on its way
 * @throws GatewayError KEYSERVER_REFUSED with what it says, KEYSERVER_MALFORMED, WEB_*
 */
export async function uploadToVks(
  { host, ask }: UploadPlace,
  address: Address,
  { certificate, fingerprint }: { readonly certificate: string; readonly fingerprint: string },
  signal: AbortSignal,
  beforeAsking: () => void = () => undefined,
): Promise<UploadStatus> {
  const post = (path: string, value: object) => postJson(ask, new URL(path, `https://${host}`), value, signal)
  const uploaded = readUpload(host, await post("/vks/v1/upload", { keytext: certificate }))
  if (uploaded.fingerprint.toLowerCase() !== fingerprint.toLowerCase())
    throw malformed(host, "says that it was given another key")
  const before = statusOf(host, uploaded.status, address)
  if (before !== "unpublished" && before !== "pending") return before
  beforeAsking()
  const asked = { token: uploaded.token, addresses: [formatAddress(address)] }
  return statusOf(host, readStatus(host, await post("/vks/v1/request-verify", asked)), address)
}

async function postJson(ask: AskWeb, url: URL, value: object, signal: AbortSignal): Promise<unknown> {
  const posted = { type: "application/json", octets: Buffer.from(JSON.stringify(value)) }
  const answer = await ask({ url, body: posted, maxOctets: MAX_ANSWER_OCTETS, isTrusted: true }, signal)
  const body = jsonIn(answer)
  if (answer.status === 200) return body
  const said = isRecord(body) && typeof body["error"] === "string" ? `: ${oneLine(body["error"])}` : ""
  throw new GatewayError("KEYSERVER_REFUSED", `${url.host} answers ${answer.status}${said}`)
}

/** @returns undefined for what is no JSON */
function jsonIn({ body }: WebAnswer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body))
  } catch {
    // An error page of whatever stands in front of it; who needs the value says so.
    return undefined
  }
}

function readUpload(host: string, value: unknown) {
  const { key_fpr: fingerprint, token } = isRecord(value) ? value : {}
  if (typeof fingerprint !== "string" || typeof token !== "string" || token.length > MAX_TOKEN)
    throw malformed(host, "answers an upload without key_fpr and token")
  return { fingerprint, token, status: readStatus(host, value) }
}

function readStatus(host: string, value: unknown): Readonly<Record<string, unknown>> {
  const status = isRecord(value) ? value["status"] : undefined
  if (!isRecord(status)) throw malformed(host, "answers without the status of addresses")
  return status
}

/** Keyservers write addresses in lower case. */
function statusOf(host: string, status: Readonly<Record<string, unknown>>, address: Address): UploadStatus {
  const key = addressKey(address)
  const found = Object.entries(status).find(([written]) => keyOf(written) === key)?.[1]
  const known = STATUSES.find((one) => one === found)
  if (known === undefined) throw malformed(host, `says nothing of ${key}`)
  return known
}

function keyOf(written: string): string | null {
  try {
    return addressKey(parseAddress(written))
  } catch {
    // What is no address is not ours.
    return null
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** For people, from a stranger. */
function oneLine(text: string): string {
  return text
    .replace(/[^\x20-\x7e]+/g, " ")
    .slice(0, MAX_REASON)
    .trim()
}

function malformed(host: string, what: string): GatewayError {
  return new GatewayError("KEYSERVER_MALFORMED", `${host} ${what}`)
}

const STATUSES = ["published", "pending", "unpublished", "revoked"] as const
/** Fingerprint, token and a line for each address; a key has hundreds at most. */
const MAX_ANSWER_OCTETS = 65_536
/** Real ones have some hundred characters. */
const MAX_TOKEN = 16_384
const MAX_REASON = 200
