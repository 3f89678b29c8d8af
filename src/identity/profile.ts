/** PURE. The signed mail profile of an account, as docs/PROFILE.md describes it. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { keyFingerprint } from "./fingerprint.ts"
import { base64, type JsonObject } from "./json.ts"
import { readDocument, signDocument } from "./jws.ts"

/** One way to write to the account. */
export interface ProfileConnection {
  readonly protocol: "SMTP"
  readonly encrypt: "S/MIME" | "OpenPGP"
  /** What senders should do who have the choice. */
  readonly prefer: "encrypt" | "clear"
  /** What mail must be to be taken; null: nothing is demanded. */
  readonly require: "sign" | "encrypt" | "sign+encrypt" | null
  /** S/MIME: the account's certificate and its intermediate, PEM. OpenPGP: the armored certificate, no signing subkeys in it. */
  readonly key: string
}

/** What an account tells everybody who wants to write to it; it lists no devices. */
export interface ProfileMailPublic {
  readonly version: 1
  readonly address: string
  readonly name: string
  /** Fingerprint of the personal root's key. */
  readonly udf: string
  /** Personal root, DER. */
  readonly root: Uint8Array
  readonly issuedAt: Date
  /** The first is the preferred one. */
  readonly connection: readonly ProfileConnection[]
}

/** Media type of the signed document is `application/jose+json`; this is its `typ`. */
const TYPE = "mail-profile+json"

/** Signs the profile with the scalar of its root. */
export function signProfile(profile: ProfileMailPublic, rootScalar: Uint8Array): string {
  const { connection, root, ...rest } = profile
  const list = connection.map(({ require, ...entry }) => (require === null ? entry : { ...entry, require }))
  return signDocument(
    TYPE,
    profile.udf,
    { type: "ProfileMailPublic", ...rest, root: base64(root), connection: list },
    rootScalar,
  )
}

/**
 * Checks a signed profile: signature by the root it carries, and the fingerprint of that root.
 * Whether this root is the right one is for the caller to know: compare {@link ProfileMailPublic.udf}.
 * @throws GatewayError REQUEST_INVALID
 */
export function verifyProfile(text: string): ProfileMailPublic {
  const document = readDocument(text, TYPE)
  const profile = readProfile(document.payload)
  const root = readCertificate(profile.root)
  if (root.point === null) throw invalid("root is no P-256 key")
  document.check(root.point)
  if (profile.udf !== keyFingerprint(root.point)) throw invalid("udf is not of this root")
  return profile
}

function readProfile(payload: JsonObject): ProfileMailPublic {
  payload.word("type", ["ProfileMailPublic"])
  if (payload.number("version") !== 1) throw invalid("version is not 1")
  return {
    version: 1,
    address: addressKey(parseAddress(payload.text("address"))),
    name: payload.text("name"),
    udf: payload.text("udf"),
    root: payload.octets("root"),
    issuedAt: payload.date("issuedAt"),
    connection: payload
      .objects("connection")
      .filter(isKnown)
      .map((entry) => ({
        protocol: entry.word("protocol", ["SMTP"]),
        encrypt: entry.word("encrypt", ["S/MIME", "OpenPGP"]),
        prefer: entry.word("prefer", ["encrypt", "clear"]),
        require: entry.optional("require", (object, name) => object.word(name, ["sign", "encrypt", "sign+encrypt"])),
        key: entry.text("key"),
      })),
  }
}

/** Others are for other readers. */
function isKnown(connection: JsonObject): boolean {
  return connection.text("protocol") === "SMTP" && ["S/MIME", "OpenPGP"].includes(connection.text("encrypt"))
}

function invalid(what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `profile: ${what}`)
}
