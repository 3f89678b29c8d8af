import { GatewayError } from "../../errors.ts"
import { isSubkeyPacket, type PublicKey, readPublicKey } from "./key-packet.ts"
import { PACKET, type Packet, readPackets, writePacket } from "./packet.ts"
import { readSignature, SIGNATURE, type Signature } from "./signature.ts"

/** A key, or a user id, with the signatures that follow it (RFC 9580 §10.1). */
export interface Component {
  readonly packet: Packet
  readonly signatures: readonly Packet[]
}

/** A primary key or subkey, public or secret, with its signatures. */
export interface KeyComponent extends Component {
  readonly key: PublicKey
}

/** A certificate (transferable public key) or transferable secret key, taken apart. */
export interface Transferable {
  readonly primary: KeyComponent
  /** User ids and user attributes. */
  readonly users: readonly Component[]
  /** In the order they stand in; those of unknown versions are left out. */
  readonly subkeys: readonly KeyComponent[]
}

/** Real certificates are below 50 KiB, those with photographs below 200. */
export const MAX_CERTIFICATE_OCTETS = 1_048_576

/**
 * Takes a binary certificate or transferable secret key apart. Signatures are not verified.
 * @throws GatewayError OPENPGP_MALFORMED (or larger than {@link MAX_CERTIFICATE_OCTETS}), OPENPGP_UNSUPPORTED
 */
export function readTransferable(octets: Uint8Array): Transferable {
  if (octets.length > MAX_CERTIFICATE_OCTETS) throw malformed("too large")
  const [first, ...rest] = components(readPackets(octets))
  if (!first || (first.packet.tag !== PACKET.publicKey && first.packet.tag !== PACKET.secretKey))
    throw malformed("does not begin with a primary key")
  const second = rest.find(({ packet }) => packet.tag === PACKET.publicKey || packet.tag === PACKET.secretKey)
  if (second) throw malformed("more than one certificate")
  return {
    primary: { ...first, key: readPublicKey(first.packet) },
    users: rest.filter(({ packet }) => packet.tag === PACKET.userId || packet.tag === USER_ATTRIBUTE),
    subkeys: rest
      .filter(({ packet }) => isSubkeyPacket(packet) && SUPPORTED.includes(packet.body[0] ?? 0))
      .map(withKey),
  }
}

/** The octets of components one after the other, every packet in OpenPGP format. */
export function writeComponents(...components: readonly Component[]): Uint8Array {
  const packets = components.flatMap(({ packet, signatures }) => [packet, ...signatures])
  return Buffer.concat(packets.map(({ tag, body }) => writePacket(tag, body)))
}

/** The newest of a component's signatures of these types that names `issuer`; null when there is none. Not verified. */
export function newestSignature(
  { signatures }: Component,
  issuer: PublicKey,
  isWanted: (type: number) => boolean,
): { readonly packet: Packet; readonly signature: Signature } | null {
  let newest: { packet: Packet; signature: Signature } | null = null
  for (const packet of signatures) {
    const signature = readSignature(packet)
    if (!signature || !isWanted(signature.type) || !isIssuedBy(signature, issuer)) continue
    // Of two in the same second the later one in the file counts.
    if (newest === null || signature.createdAt >= newest.signature.createdAt) newest = { packet, signature }
  }
  return newest
}

/** Whether a signature of the primary key revokes this subkey. Not verified. */
export function isRevoked(subkey: KeyComponent, primary: PublicKey): boolean {
  return newestSignature(subkey, primary, (type) => type === SIGNATURE.subkeyRevocation) !== null
}

function isIssuedBy({ issuer }: Signature, { keyId }: PublicKey): boolean {
  return issuer !== null && Buffer.compare(issuer, keyId) === 0
}

function withKey(component: Component): KeyComponent {
  return { ...component, key: readPublicKey(component.packet) }
}

/** Groups signatures with what they follow; packets of other types (trust, padding, private ones) are left out. */
function components(packets: readonly Packet[]): Component[] {
  const found: { packet: Packet; signatures: Packet[] }[] = []
  for (const packet of packets) {
    if (packet.tag === PACKET.signature) found.at(-1)?.signatures.push(packet)
    else if (COMPONENTS.includes(packet.tag)) found.push({ packet, signatures: [] })
  }
  return found
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `certificate: ${what}`)
}

const USER_ATTRIBUTE = 17
const SUPPORTED: readonly number[] = [4, 6]
const COMPONENTS: readonly number[] = [
  PACKET.publicKey,
  PACKET.secretKey,
  PACKET.userId,
  USER_ATTRIBUTE,
  PACKET.publicSubkey,
  PACKET.secretSubkey,
]
