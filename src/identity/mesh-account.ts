/** PURE. A person's account in the Mesh: its seed, its profile, and the gateway that is one of its devices. */
import { deriveEnvelopeSecrets } from "../crypto/dare/seal.ts"
import { parseSeed, printSeed, SEED_SPECIFIER } from "../crypto/udf/seed.ts"
import { activatedPublicKeys, activationSeed, makeActivation } from "../mesh/activation.ts"
import { type AdministeredAccount, makeConnectionDevice } from "../mesh/connection.ts"
import { ROLE_SEND_MAIL } from "../mesh/mail/check.ts"
import { verifyProfileUser } from "../mesh/profile.ts"
import { makeProfileUser, userKeys } from "../mesh/profile-make.ts"
import type { MeshAccountRecord } from "../store/mesh-accounts.ts"
import { leafValidity, type Making } from "./issuing.ts"
import { type MailProfileContent, signMailProfile } from "./mail-profile.ts"
import { type MeshGateway, verifyMeshGateway } from "./mesh-gateway.ts"
import type { Person, PersonMesh } from "./person.ts"
import type { ProfileConnection } from "./profile.ts"

/** An account that has a name in the Mesh, whether it takes part or has left. */
export type MeshPerson = Person & { readonly mesh: PersonMesh }

/** One that a gateway is connected to. */
export type ConnectedPerson = Person & { readonly mesh: ConnectedMesh }

type ConnectedMesh = PersonMesh & { readonly gateway: NonNullable<PersonMesh["gateway"]> }

export function hasMeshName(person: Person): person is MeshPerson {
  return person.mesh !== null
}

export function isConnected(person: Person): person is ConnectedPerson {
  return person.mesh !== null && person.mesh.gateway !== null
}

/** A new account; the seed is all there is to it. */
export function makeMesh(address: string, gateway: MeshGateway, making: Making): ConnectedMesh {
  const seed = printSeed({ specifier: SEED_SPECIFIER.profileAccount, octets: making.random(SEED_OCTETS) })
  return connectedTo(gateway, address, { seed, gateway: null }, making)
}

/** The account with this gateway as its device and its service: the one it had, as that is now, or another. */
export function connectedTo(
  gateway: MeshGateway,
  address: string,
  before: Pick<PersonMesh, "seed" | "gateway">,
  { now, random }: Making,
): ConnectedMesh {
  const { service, device } = verifyMeshGateway(gateway)
  const account = { address, serviceUdf: service.udf, created: now }
  const { envelope } = makeProfileUser(parseSeed(before.seed), account, "mail")
  const isSame = before.gateway !== null && verifyMeshGateway(before.gateway).device.udf === device.udf
  const activation = isSame && before.gateway !== null ? before.gateway.activation : random(SEED_OCTETS)
  return { seed: before.seed, profile: envelope, gateway: { ...gateway, activation } }
}

/** The account without a service and without a gateway. Its seed stays, and with it its name and what it joins again with. */
export function leftMesh(address: string, { seed }: PersonMesh, { now }: Pick<Making, "now">): PersonMesh {
  const { envelope } = makeProfileUser(parseSeed(seed), { address, serviceUdf: null, created: now })
  return { seed, profile: envelope, gateway: null }
}

/** What the server keeps of the account: who the gateway is in it, until when, and the published profile. */
export function meshRecordOf(
  person: ConnectedPerson,
  connection: readonly ProfileConnection[],
  { now, random }: Making,
): MeshAccountRecord {
  const account = administered(person.mesh)
  const { device } = verifyMeshGateway(person.mesh.gateway)
  const activation = activationSeed(person.mesh.gateway.activation)
  const keys = activatedPublicKeys(device, activation)
  const secrets = deriveEnvelopeSecrets(random(SEED_OCTETS), "activation")
  // As long as certificates, whose renewal renews it, too.
  const terms = { roles: [ROLE_SEND_MAIL], created: now, notOnOrAfter: leafValidity(now, FAR_FUTURE).notAfter }
  return {
    profile: person.mesh.profile,
    connection: makeConnectionDevice(account, { profile: device, keys }, terms),
    activation: makeActivation(account, device, activation, { secrets, created: now }),
    mailProfile: mailProfileOf(person, connection, now),
  }
}

/** The signed mail profile of the person as it is, version 2. `connection`: those over SMTP. */
export function mailProfileOf(person: MeshPerson, connection: readonly ProfileConnection[], now: Date): Uint8Array {
  const { name, root, mesh } = person
  const content = { name, root: root.certificate, issuedAt: now, connection: [...overMesh(mesh), ...connection] }
  return signMailProfile(administered(mesh), content, root.scalar)
}

function overMesh({ gateway }: PersonMesh): MailProfileContent["connection"] {
  if (gateway === null) return []
  const { address, device } = verifyMeshGateway(gateway)
  if (address === null) return []
  return [{ protocol: "Mesh", prefer: "encrypt", require: null, service: address, deviceUdf: device.udf }]
}

/** The account with its administrator key. */
export function administered({ seed, profile }: Pick<PersonMesh, "seed" | "profile">): AdministeredAccount {
  return { profile: verifyProfileUser(profile, null), administrator: userKeys(parseSeed(seed)).administrator }
}

/** What profiles and activations have. */
const SEED_OCTETS = 32
const FAR_FUTURE = new Date("9999-12-31T23:59:59Z")
