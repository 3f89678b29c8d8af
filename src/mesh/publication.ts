/** PURE */
import { readEnvelope } from "../crypto/dare/envelope.ts"
import type { Signer } from "../crypto/dare/signature.ts"
import { memberOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import { MAX_ID_CHARACTERS } from "./message-id.ts"
import { invalid, readObject, requiredMember, timeOf, writeTime } from "./object.ts"
import { readSigned, type SignedObject, signObject } from "./signed.ts"

/*
 * Publications (draft-hallambaker-mesh-schema, "CatalogedPublication"): something that is encrypted under a key, most of all the profile of a device that waits to be
 * connected. Who has the key can name it, shows the service that he has it, and leaves a claim there for the device.
 */

/** What is published. Entries are readable by the service: `EnvelopedData` is not. */
export interface Publication {
  /** `publicationId` of the key. */
  readonly id: string
  /** `publicationAuthenticator` of the key. */
  readonly authenticator: string
  readonly notOnOrAfter: Date | null
}

/** What somebody who has the key says to the service and to the device. */
export interface PublicationClaim {
  /** Address of the account that claims. */
  readonly sender: string
  readonly publicationId: string
  /** `claimAuthenticator` for the service, and for the device. */
  readonly serviceAuthenticate: string
  readonly deviceAuthenticate: string
  readonly expires: Date | null
}

/** Reads an entry of the Publication catalog. @throws GatewayError MESH_OBJECT_INVALID; as `readEnvelope` */
export function readPublication(envelope: Uint8Array): Publication {
  const { members } = readObject(readEnvelope(envelope).payload, ["CatalogedPublication"])
  const id = requiredMember(members, "Id", textOf)
  if (id.length === 0 || id.length > MAX_ID_CHARACTERS) throw invalid("Id is no name of a publication")
  return {
    id,
    authenticator: requiredMember(members, "Authenticator", textOf),
    notOnOrAfter: memberOf(members, "NotOnOrAfter", timeOf),
  }
}

/** Writes what {@link readPublication} reads, with what is published: an envelope that the key opens. */
export function makePublication(
  { id, authenticator, notOnOrAfter }: Publication,
  published: Uint8Array,
  signer: Signer,
  created: Date,
): Uint8Array {
  const members = {
    Id: id,
    Authenticator: authenticator,
    EnvelopedData: published,
    NotOnOrAfter: notOnOrAfter === null ? undefined : writeTime(notOnOrAfter),
  }
  return signObject("CatalogedPublication", members, [signer], { uniqueId: id, created })
}

/** What has been published in an entry. @throws GatewayError MESH_OBJECT_INVALID */
export function publishedIn(envelope: Uint8Array): Uint8Array {
  const { members } = readObject(readEnvelope(envelope).payload, ["CatalogedPublication"])
  return requiredMember(members, "EnvelopedData", octetsOf)
}

/** Reads a claim; whose it is tells `object`. @throws GatewayError MESH_OBJECT_INVALID; as `readSigned` */
export function readClaim(envelope: Uint8Array): { readonly claim: PublicationClaim; readonly object: SignedObject } {
  const object = readSigned(envelope, ["MessageClaim"])
  const text = (name: string) => requiredMember(object.members, name, textOf)
  const claim = {
    sender: text("Sender"),
    publicationId: text("PublicationId"),
    serviceAuthenticate: text("ServiceAuthenticate"),
    deviceAuthenticate: text("DeviceAuthenticate"),
    expires: memberOf(object.members, "Expires", timeOf),
  }
  return { claim, object }
}

/** Writes what {@link readClaim} reads. */
export function makeClaim(claim: PublicationClaim, signer: Signer, created: Date): Uint8Array {
  const members = {
    Sender: claim.sender,
    PublicationId: claim.publicationId,
    ServiceAuthenticate: claim.serviceAuthenticate,
    DeviceAuthenticate: claim.deviceAuthenticate,
    Expires: claim.expires === null ? undefined : writeTime(claim.expires),
  }
  return signObject("MessageClaim", members, [signer], { created })
}
