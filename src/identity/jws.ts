/** PURE. Signed JSON documents: JWS (RFC 7515) with ES256 (RFC 7518 §3.4), flattened JSON serialization (RFC 7515 §7.2.2). */
import { signP256, verifyP256 } from "../crypto/primitives/sign.ts"
import { GatewayError } from "../errors.ts"
import { formatJson, type JsonObject, parseJsonObject } from "./json.ts"

/** A signed document whose signature is not checked yet. */
export interface UncheckedDocument {
  /** Trust nothing in it before {@link UncheckedDocument.check}. */
  readonly payload: JsonObject
  /** @throws GatewayError REQUEST_INVALID when the signature is not of the key with this point (65 octets) */
  check(point: Uint8Array): void
}

/** Documents are a few KB, but for requests of people with hundreds of devices: what their owner leaves with the server has six KB of each. */
const MAX_DOCUMENT_OCTETS = 4_000_000

/** Signs `payload` (octets become base64, dates RFC 3339) as a document of the media type `application/<type>`. */
export function signDocument(type: string, keyId: string, payload: unknown, scalar: Uint8Array): string {
  const head = base64url(JSON.stringify({ alg: "ES256", typ: type, kid: keyId }))
  const body = base64url(formatJson(payload))
  const signature = signP256(scalar, signingInput(head, body), "raw")
  return `${JSON.stringify({ payload: body, protected: head, signature: Buffer.from(signature).toString("base64url") })}\n`
}

/**
 * Takes a document of this type apart.
 * @throws GatewayError REQUEST_INVALID when it is none, or is signed by another method
 */
export function readDocument(text: string, type: string): UncheckedDocument {
  if (text.length > MAX_DOCUMENT_OCTETS)
    throw new GatewayError("REQUEST_INVALID", `${type}: over ${MAX_DOCUMENT_OCTETS} octets`)
  const document = parseJsonObject(text, type)
  const [head, body, signature] = [document.text("protected"), document.text("payload"), document.text("signature")]
  const header = parseJsonObject(decode(head, type), `${type} header`)
  // RFC 8725 §3.1, §3.11: one algorithm, and the type said aloud, so that no document passes for another.
  header.word("alg", ["ES256"])
  header.word("typ", [type])
  // RFC 7515 §4.1.11: what must be understood and is not.
  if (header.has("crit")) throw new GatewayError("REQUEST_INVALID", `${type}: has critical header parameters`)
  const payload = parseJsonObject(decode(body, type), type)
  return {
    payload,
    check: (point) => {
      if (!verifyP256(point, signingInput(head, body), Buffer.from(signature, "base64url"), "raw"))
        throw new GatewayError("REQUEST_INVALID", `${type}: signature is wrong`)
    },
  }
}

function signingInput(head: string, body: string): Uint8Array {
  return new TextEncoder().encode(`${head}.${body}`)
}

function base64url(text: string): string {
  return Buffer.from(text, "utf8").toString("base64url")
}

function decode(text: string, type: string): string {
  const octets = Buffer.from(text, "base64url")
  if (octets.toString("base64url") !== text)
    throw new GatewayError("REQUEST_INVALID", `${type}: base64url is malformed`)
  return octets.toString("utf8")
}
