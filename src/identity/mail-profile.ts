/** PURE. The signed mail profile, version 2, as docs/PROFILE.md describes it: version 1 under the person's Mesh profile, and with a Mesh connection. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import {
  countOf,
  itemsOf,
  type JsonObject,
  type JsonValue,
  memberOf,
  objectOf,
  octetsOf,
  textOf,
} from "../crypto/jsonb/value.ts"
import type { Writable } from "../crypto/jsonb/write.ts"
import { signP256, verifyP256 } from "../crypto/primitives/sign.ts"
import { parseUdf } from "../crypto/udf/udf.ts"
import { GatewayError } from "../errors.ts"
import type { AdministeredAccount } from "../mesh/connection.ts"
import { signerWith } from "../mesh/key-data.ts"
import { requiredMember, timeOf } from "../mesh/object.ts"
import { type ProfileUser, verifyProfileUser } from "../mesh/profile.ts"
import { checkSigned, readSigned, signObject } from "../mesh/signed.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { keyFingerprint } from "./fingerprint.ts"
import { isServiceAddress } from "./mesh-gateway.ts"
import type { ProfileConnection } from "./profile.ts"

/** Mail over the Mesh: where the account's service is, and which gateway sends for the account. */
export interface MeshConnection extends Pick<ProfileConnection, "prefer" | "require"> {
  readonly protocol: "Mesh"
  /** https, ends with `/`. */
  readonly service: string
  /** Of the service that may speak for the account: what its ProfileUser says. */
  readonly serviceUdf: string
  /** Of the one device that may send for the account as a gateway: what another sends is refused. */
  readonly deviceUdf: string
}

/** How its account is written to over the Mesh; undefined: it is not. */
export function overMesh({ connection }: Pick<MailProfile, "connection">): MeshConnection | undefined {
  return connection.find((one) => one.protocol === "Mesh")
}

/** What an account tells everybody who wants to write to it. */
export interface MailProfile {
  readonly version: 2
  readonly address: string
  readonly name: string
  /** The account in the Mesh; its name is the account's. */
  readonly profile: ProfileUser
  /** Fingerprint of the personal root, which is what version 1 is known by. */
  readonly udf: string
  /** Personal root, DER. It vouches for the Mesh profile, as the Mesh profile does for it. */
  readonly root: Uint8Array
  readonly issuedAt: Date
  /** The first is the preferred one. */
  readonly connection: readonly (MeshConnection | ProfileConnection)[]
  /** As received. */
  readonly envelope: Uint8Array
}

/** What {@link signMailProfile} makes a profile of. */
export interface MailProfileContent extends Pick<MailProfile, "name" | "root" | "issuedAt"> {
  readonly connection: readonly (Omit<MeshConnection, "serviceUdf"> | ProfileConnection)[]
}

/** Signs the profile with the account's administrator key, and the account's name with the personal root's. */
export function signMailProfile(
  account: AdministeredAccount,
  content: MailProfileContent,
  rootScalar: Uint8Array,
): Uint8Array {
  const { profile } = account
  const members = {
    Version: 2,
    Address: profile.address,
    Name: content.name,
    IssuedAt: content.issuedAt.toISOString(),
    Profile: profile.envelope,
    Root: content.root,
    RootSignature: signP256(rootScalar, vouched(profile), "raw"),
    Connections: content.connection.map(writeConnection),
  }
  const labels = { uniqueId: profile.udf, created: content.issuedAt }
  return signObject(TYPE, members, [signerWith(account.administrator)], labels)
}

/**
 * Checks a mail profile: it is signed by the administrator of the account whose profile it carries, and the personal root vouches for that. Whether they
 * are the right ones is for the caller to know: compare `profile.udf`, or {@link MailProfile.udf}.
 * @throws GatewayError MESH_UNTRUSTED, MESH_OBJECT_INVALID, ADDRESS_SYNTAX; as `readSigned`, `verifyProfileUser` and `readCertificate`
 */
export function verifyMailProfile(envelope: Uint8Array): MailProfile {
  const { members, end } = readSigned(envelope, [TYPE])
  if (requiredMember(members, "Version", countOf) !== 2) throw invalid("version is not 2")
  const profile = verifyProfileUser(requiredMember(members, "Profile", octetsOf), null)
  checkSigned(end, profile.keys.administrator)
  const address = addressKey(parseAddress(requiredMember(members, "Address", textOf)))
  if (address !== profile.address) throw invalid("address is not that of its account")
  const root = requiredMember(members, "Root", octetsOf)
  return {
    version: 2,
    address,
    name: requiredMember(members, "Name", textOf),
    profile,
    udf: voucherOf(root, profile, requiredMember(members, "RootSignature", octetsOf)),
    root,
    issuedAt: requiredMember(members, "IssuedAt", timeOf),
    connection: connectionsOf(members, profile),
    envelope,
  }
}

/** The fingerprint of the root that has signed the account's name. */
function voucherOf(root: Uint8Array, profile: ProfileUser, signature: Uint8Array): string {
  const { point } = readCertificate(root)
  if (point === null) throw invalid("root is no P-256 key")
  if (!verifyP256(point, vouched(profile), signature, "raw"))
    throw new GatewayError("MESH_UNTRUSTED", "mail profile: its root does not vouch for its account")
  return keyFingerprint(point)
}

/** What the personal root signs. A NUL stands in nothing else that it signs but in DER, which begins otherwise. */
function vouched({ binaryUdf, address }: ProfileUser): Uint8Array {
  return Buffer.concat([Buffer.from(`${TYPE} 2\0${address}\0`, "utf8"), binaryUdf])
}

function writeConnection(entry: MailProfileContent["connection"][number]): Writable {
  const wish = { Prefer: entry.prefer, Require: entry.require ?? undefined }
  if (entry.protocol === "Mesh")
    return { Protocol: "Mesh", ...wish, Service: entry.service, DeviceUdf: entry.deviceUdf }
  return { Protocol: "SMTP", Encrypt: entry.encrypt, ...wish, Key: entry.key }
}

/** Those of a kind that we know; others are for other readers. */
function connectionsOf(members: JsonObject, profile: ProfileUser): readonly (MeshConnection | ProfileConnection)[] {
  const entries = requiredMember(members, "Connections", itemsOf)
  if (entries.length > MAX_CONNECTIONS) throw invalid(`has over ${MAX_CONNECTIONS} connections`)
  return entries.flatMap((entry) => connectionOf(objectOf(entry, "connection"), profile) ?? [])
}

function connectionOf(entry: JsonObject, { serviceUdf }: ProfileUser): MeshConnection | ProfileConnection | null {
  const protocol = requiredMember(entry, "Protocol", textOf)
  const encrypt = memberOf(entry, "Encrypt", textOf)
  const wish = () => ({
    prefer: requiredMember(entry, "Prefer", wordOf(["encrypt", "clear"])),
    require: memberOf(entry, "Require", wordOf(["sign", "encrypt", "sign+encrypt"])),
  })
  if (protocol === "SMTP" && (encrypt === "S/MIME" || encrypt === "OpenPGP"))
    return { protocol, encrypt, ...wish(), key: requiredMember(entry, "Key", textOf) }
  if (protocol !== "Mesh") return null
  const service = requiredMember(entry, "Service", textOf)
  if (!isServiceAddress(service)) throw invalid("service is no https URL that ends with /")
  if (serviceUdf === null) throw invalid("has a Mesh connection, and its account has no service")
  const deviceUdf = parseUdf(requiredMember(entry, "DeviceUdf", textOf)).text
  return { protocol, ...wish(), service, serviceUdf, deviceUdf }
}

function wordOf<const T extends string>(words: readonly T[]): (value: JsonValue, what: string) => T {
  return (value, what) => {
    const text = textOf(value, what)
    const found = words.find((word) => word === text)
    if (found === undefined) throw invalid(`${what} is none of ${words.join(", ")}`)
    return found
  }
}

function invalid(what: string): GatewayError {
  return new GatewayError("MESH_OBJECT_INVALID", `mail profile: ${what}`)
}

const TYPE = "ProfileMailPublic"
/** One for each format and the Mesh, and some to come. */
const MAX_CONNECTIONS = 32
