/** PURE */
import type { Signer } from "../crypto/dare/signature.ts"
import { memberOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import { connectionWitness } from "./connection-witness.ts"
import { envelopeIdOf } from "./message-id.ts"
import { invalid, requiredMember } from "./object.ts"
import { type Profile, verifyProfileDevice } from "./profile.ts"
import { checkSigned, readSigned, signObject, untrusted } from "./signed.ts"

/*
 * How a device asks to be connected (draft-hallambaker-mesh-protocol, "Device connection"): RequestConnection is the device's, with its profile in it;
 * AcknowledgeConnection is the service's around it, with a nonce of its own. Both sides show the witness of both nonces, for a person to compare.
 */

/** What a device asks, signed with the base key of its profile. */
export interface ConnectionRequest {
  readonly messageId: string
  readonly accountAddress: string
  readonly device: Profile
  readonly clientNonce: Uint8Array
  /** Of the PIN that the device was given; whether it is right is for the account's administrator to say. */
  readonly pinId: string | null
  readonly pinWitness: Uint8Array | null
  readonly envelope: Uint8Array
}

/** What a service says of it. */
export interface Acknowledgement {
  readonly request: ConnectionRequest
  readonly serverNonce: Uint8Array
  /** Its MessageId, too. */
  readonly witness: string
}

/** @throws GatewayError MESH_UNTRUSTED when it is not the device's own; MESH_OBJECT_INVALID; as `readSigned` */
export function readConnectionRequest(envelope: Uint8Array): ConnectionRequest {
  const { members, end } = readSigned(envelope, ["RequestConnection"])
  const device = verifyProfileDevice(requiredMember(members, "AuthenticatedData", octetsOf), null)
  checkSigned(end, device.keys.signature)
  return {
    messageId: requiredMember(members, "MessageId", textOf),
    accountAddress: requiredMember(members, "AccountAddress", textOf),
    device,
    clientNonce: nonceOf(requiredMember(members, "ClientNonce", octetsOf)),
    pinId: memberOf(members, "PinId", textOf),
    pinWitness: memberOf(members, "PinWitness", octetsOf),
    envelope,
  }
}

/** Writes what {@link readConnectionRequest} reads. `signer`: of the device's base signature key. */
export function makeConnectionRequest(
  request: Omit<ConnectionRequest, "envelope">,
  signer: Signer,
  created: Date,
): Uint8Array {
  const { messageId, accountAddress, device, clientNonce, pinId, pinWitness } = request
  const members = {
    MessageId: messageId,
    AccountAddress: accountAddress,
    AuthenticatedData: device.envelope,
    ClientNonce: clientNonce,
    PinId: pinId ?? undefined,
    PinWitness: pinWitness ?? undefined,
  }
  return signObject("RequestConnection", members, [signer], { envelopeId: envelopeIdOf(messageId), created })
}

/** The service's word for it, to which it adds a nonce of 16 octets. */
export function makeAcknowledgement(
  request: ConnectionRequest,
  account: Pick<Profile, "binaryUdf" | "generation">,
  serverNonce: Uint8Array,
  signer: Signer,
  created: Date,
): Uint8Array {
  const witness = witnessOf(request, account, serverNonce)
  const members = {
    MessageId: witness,
    EnvelopedRequestConnection: request.envelope,
    ServerNonce: serverNonce,
    Witness: witness,
  }
  return signObject("AcknowledgeConnection", members, [signer], { envelopeId: envelopeIdOf(witness), created })
}

/**
 * Reads what the account's own service has said.
 * @throws GatewayError MESH_UNTRUSTED when it is not the service's, or has another witness; as {@link readConnectionRequest}
 */
export function readAcknowledgement(
  envelope: Uint8Array,
  account: Pick<Profile, "binaryUdf" | "generation">,
  service: Pick<Profile, "keys">,
): Acknowledgement {
  const { members, end } = readSigned(envelope, ["AcknowledgeConnection"])
  checkSigned(end, service.keys.signature)
  const request = readConnectionRequest(requiredMember(members, "EnvelopedRequestConnection", octetsOf))
  const serverNonce = nonceOf(requiredMember(members, "ServerNonce", octetsOf))
  const witness = requiredMember(members, "Witness", textOf)
  if (witness !== witnessOf(request, account, serverNonce)) throw untrusted("connection has another witness")
  return { request, serverNonce, witness }
}

function witnessOf(
  { device, clientNonce }: ConnectionRequest,
  account: Pick<Profile, "binaryUdf" | "generation">,
  serverNonce: Uint8Array,
): string {
  return connectionWitness(
    { fingerprint: fingerprintOf(account), nonce: serverNonce },
    { fingerprint: fingerprintOf(device), nonce: clientNonce },
  )
}

/** 65 octets in generation 2024, whose names have their type octet twice; 64 in 2022. */
function fingerprintOf({ binaryUdf, generation }: Pick<Profile, "binaryUdf" | "generation">): Uint8Array {
  return generation === 2024 ? binaryUdf.subarray(1) : binaryUdf.subarray(0, 64)
}

function nonceOf(octets: Uint8Array): Uint8Array {
  if (octets.length !== 16) throw invalid("nonce is not 16 octets long")
  return octets
}
