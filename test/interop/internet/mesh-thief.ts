import { readFileSync } from "node:fs"
import { join } from "node:path"
import { readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { cmsRecipient } from "../../../src/crypto/cms/recipient.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { parseSeed, printSeed, SEED_SPECIFIER } from "../../../src/crypto/udf/seed.ts"
import { Keyring } from "../../../src/identity/keyring.ts"
import { administered, type ConnectedPerson, isConnected, type MeshPerson } from "../../../src/identity/mesh-account.ts"
import { activatedKeys, activatedPublicKeys, activationSeed } from "../../../src/mesh/activation.ts"
import { makeConnectionDevice } from "../../../src/mesh/connection.ts"
import { signerWith } from "../../../src/mesh/key-data.ts"
import { ROLE_SEND_MAIL } from "../../../src/mesh/mail/check.ts"
import { type OutgoingMail, type PublishMail, sealMail } from "../../../src/mesh/mail/seal.ts"
import type { MailRecipient } from "../../../src/mesh/mail/sealing.ts"
import { deviceKeys, makeProfileDevice, makeProfileService, serviceKeys } from "../../../src/mesh/profile-make.ts"
import { MeshClient, type PostOutcome } from "../../../src/mesh-out/client.ts"
import type { HttpsPeers } from "../../../src/net/https-peers.ts"
import { openMeshHost } from "../../../src/store/mesh-host.ts"
import { inPieces } from "../../harness/pieces.ts"
import { askingAt } from "./mesh-between.ts"
import { type MeshGateway, type MeshWorld, TWO } from "./mesh-world.ts"

type Service = Pick<OutgoingMail["service"], "profile" | "signer">

/** Says who the gateway is in the Mesh: printed seeds. */
export interface HostSecrets {
  readonly service: string
  readonly device: string
  readonly created: string
}

/** Where the gateway keeps who it is. */
export function hostFile({ instance }: MeshGateway): string {
  return join(instance.folder, "secrets/mesh/host.json")
}

export function hostSecrets(gateway: MeshGateway): HostSecrets {
  return JSON.parse(readFileSync(hostFile(gateway), "utf8")) as HostSecrets
}

/** The gateway's secrets with a device that nobody has connected yet. */
export function withAnotherDevice(gateway: MeshGateway): string {
  const device = printSeed({ specifier: SEED_SPECIFIER.profileDevice, octets: randomOctets(32) })
  return JSON.stringify({ ...hostSecrets(gateway), device })
}

/** Everything secret of a person, from the keyring of his gateway's machine. */
export async function personOf({ instance }: MeshGateway, address: string): Promise<ConnectedPerson> {
  const person = await new Keyring(join(instance.folder, "keyring"), null).open(address)
  if (!isConnected(person)) throw new Error(`${address} has no part in the Mesh`)
  return person
}

/** How mail to him is sealed. */
export function recipientOf(person: MeshPerson): MailRecipient {
  const current = person.smime.find((key) => key.current)
  if (current === undefined) throw new Error("no certificate")
  return { profile: administered(person.mesh).profile, certificate: cmsRecipient(readCertificate(current.certificate)) }
}

/** A gateway as the person's device, as the owner connects it, until then. */
export function connected(
  { device, created }: HostSecrets,
  { mesh }: ConnectedPerson,
  notOnOrAfter: Date,
): OutgoingMail["device"] {
  const seed = parseSeed(device)
  const profile = makeProfileDevice(seed, new Date(created), "gateway")
  const activation = activationSeed(mesh.gateway.activation)
  const keys = activatedPublicKeys(profile, activation)
  const terms = { roles: [ROLE_SEND_MAIL], created: new Date(created), notOnOrAfter }
  return {
    signer: signerWith(activatedKeys(deviceKeys(seed, "gateway"), activation, 2024).signature),
    connection: makeConnectionDevice(administered(mesh), { profile, keys }, terms),
  }
}

/** A service that is nobody's. */
export function strangeService(): Service {
  const seed = { specifier: SEED_SPECIFIER.profileService, octets: randomOctets(32) }
  return { profile: makeProfileService(seed, new Date()), signer: signerWith(serviceKeys(seed).signature) }
}

export interface Theft {
  readonly sender: ConnectedPerson
  readonly device: OutgoingMail["device"]
  readonly recipient: MailRecipient
}

/** Whoever has what the first gateway keeps secret: seals what he likes, and posts it to the second in its name. */
export class Thief implements Disposable {
  readonly service: Service
  readonly #peers: HttpsPeers
  readonly #domain: string
  readonly #address: URL
  readonly #target: string

  private constructor(service: Service, peers: HttpsPeers, from: MeshGateway, target: string) {
    this.service = service
    this.#peers = peers
    this.#domain = `mail.${from.site.domain}`
    this.#address = new URL(`https://mail.${TWO.domain}/.well-known/mmm/`)
    this.#target = target
  }

  static async at(world: MeshWorld): Promise<Thief> {
    const { service } = openMeshHost(join(world.one.instance.folder, "secrets"), new Date())
    const peers = await askingAt(world, TWO.address, world.two.authority)
    const target = openMeshHost(join(world.two.instance.folder, "secrets"), new Date()).service.profile.udf
    return new Thief(service, peers, world.one, target)
  }

  /** Seals a mail, and shows its header outside, all of it. */
  seal(
    mail: Uint8Array,
    { sender, device, recipient }: Theft,
    publish: PublishMail = () => Promise.reject(new Error("is published nowhere")),
  ): Promise<Uint8Array> {
    const entity = { sizeOctets: mail.length, content: () => inPieces(mail, 65_536) }
    const outgoing = {
      sender: administered(sender.mesh).profile,
      device,
      service: { ...this.service, domain: this.#domain },
      recipient,
      date: new Date(Math.floor(Date.now() / 1000) * 1000),
      shown: mail.subarray(0, Buffer.from(mail).indexOf("\r\n\r\n") + 2),
      seed: randomOctets(32),
    }
    return sealMail(entity, outgoing, publish)
  }

  post(message: Uint8Array, account: string, own: Service = this.service): Promise<PostOutcome> {
    const client = new MeshClient({ peers: this.#peers, own, random: randomOctets, now: () => new Date() })
    return client.post(message, account, { address: this.#address, udf: this.#target }, AbortSignal.timeout(60_000))
  }

  [Symbol.dispose](): void {
    this.#peers[Symbol.dispose]()
  }
}
