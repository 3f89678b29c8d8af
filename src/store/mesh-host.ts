import { existsSync } from "node:fs"
import { join } from "node:path"
import { type OpeningKey, openingKey } from "../crypto/dare/agreement.ts"
import type { Signer } from "../crypto/dare/signature.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { parseSeed, printSeed, SEED_SPECIFIER, type Seed } from "../crypto/udf/seed.ts"
import { GatewayError } from "../errors.ts"
import { activatedKeys, openActivation } from "../mesh/activation.ts"
import { type ConnectionDevice, verifyConnectionDevice } from "../mesh/connection.ts"
import { signerWith } from "../mesh/key-data.ts"
import type { Profile } from "../mesh/profile.ts"
import {
  deviceKeys,
  makeProfileDevice,
  makeProfileService,
  type ProfileKeys,
  serviceKeys,
} from "../mesh/profile-make.ts"
import type { HolderRole } from "../mesh/profile-shape.ts"
import type { MeshAccount, MeshAccounts } from "./mesh-accounts.ts"
import { keptSecret } from "./secrets.ts"

/** What this gateway is in the Mesh: a service, and one device, which people connect to their accounts. */
export interface MeshHost {
  readonly service: {
    readonly profile: Profile
    readonly signer: Signer
    /** Opens what is encrypted to the service: shares of keys. */
    readonly opening: OpeningKey
  }
  readonly device: { readonly profile: Profile }
  /**
   * Who signs for an account: with the key that its connection names, half of it this gateway's and half of it from the account's owner.
   * @throws GatewayError MESH_UNTRUSTED, DECRYPTION_FAILED when the activation is not the owner's, or not for this gateway
   */
  signerOf(account: Pick<MeshAccount, "profile" | "activation">): Signer
}

/**
 * Reads it, making it at first use only where nobody has connected what there was before: in its place another one would be no device of theirs.
 * @throws GatewayError MESH_HOST_MISSING, STATE_CORRUPT
 */
export function openConnectedHost(secrets: string, accounts: Pick<MeshAccounts, "any">, now: Date): MeshHost {
  const path = join(secrets, FOLDER, FILE)
  if (!existsSync(path) && accounts.any())
    throw new GatewayError(
      "MESH_HOST_MISSING",
      `secret ${path}: missing, and accounts are connected to what was in it: bring it back from a copy, or connect each account anew (postern account mesh)`,
    )
  return openMeshHost(secrets, now)
}

/** An account's connection with its activation, as they come from its owner. */
export type GatewayConnection = Pick<MeshAccount, "profile" | "connection" | "activation">

/**
 * Reads what this gateway is from `secrets`/mesh/host.json, making it at first use.
 * @throws GatewayError STATE_CORRUPT
 */
export function openMeshHost(secrets: string, now: Date): MeshHost {
  const { service, device, created } = readSeeds(secrets, now)
  const base = deviceKeys(device, "gateway")
  const profile = makeProfileDevice(device, created, "gateway")
  const signers = new WeakMap<object, Signer>()
  const serviceProfile = makeProfileService(service, created)
  const own = serviceKeys(service)
  return {
    service: {
      profile: serviceProfile,
      signer: signerWith(own.signature),
      opening: openingKey(serviceProfile.keys.encryption.udf, own.encryption),
    },
    device: { profile },
    signerOf: (account) => {
      const known = signers.get(account)
      if (known !== undefined) return known
      const signer = signerWith(keysIn(account, profile, base).signature)
      signers.set(account, signer)
      return signer
    },
  }
}

/**
 * Checks that an account has connected this gateway's device, for now, and that the activation makes the keys that the connection names.
 * @throws GatewayError MESH_UNTRUSTED, MESH_EXPIRED, MESH_OBJECT_INVALID, DECRYPTION_FAILED
 */
export function checkGatewayConnection(host: MeshHost, account: GatewayConnection, now: Date): ConnectionDevice {
  const connection = verifyConnectionDevice(account.connection, account.profile, now)
  if (connection.subject !== host.device.profile.udf)
    throw new GatewayError("MESH_UNTRUSTED", "mesh: connection is of another device than this gateway's")
  if (host.signerOf(account).kid !== connection.keys.signature.udf)
    throw new GatewayError("MESH_UNTRUSTED", "mesh: activation makes other keys than the connection names")
  return connection
}

function keysIn(
  { profile: account, activation }: Pick<MeshAccount, "profile" | "activation">,
  device: Profile,
  base: ProfileKeys<HolderRole>,
) {
  const { udf: kid } = device.keys.encryption
  const seed = openActivation(activation, account, { kid, encryption: base.encryption })
  return activatedKeys(base, seed, device.generation)
}

interface Seeds {
  readonly service: Seed
  readonly device: Seed
  /** The profiles are made anew at every start, and have to be the same octets. */
  readonly created: Date
}

function readSeeds(secrets: string, now: Date): Seeds {
  const folder = join(secrets, FOLDER)
  const content = keptSecret(folder, FILE, () => writeSeeds(now))
  try {
    const { version, service, device, created } = JSON.parse(new TextDecoder().decode(content)) as Record<
      string,
      string
    >
    if (version !== VERSION) throw new Error(`version ${version}`)
    const seeds = {
      service: parseSeed(service ?? ""),
      device: parseSeed(device ?? ""),
      created: new Date(created ?? ""),
    }
    if (Number.isNaN(seeds.created.getTime())) throw new Error("created")
    return seeds
  } catch (cause) {
    throw new GatewayError("STATE_CORRUPT", `secret ${join(folder, FILE)}: damaged`, { cause })
  }
}

function writeSeeds(now: Date): Uint8Array {
  const seed = (specifier: number) => printSeed({ specifier, octets: randomOctets(SEED_OCTETS) })
  const service = seed(SEED_SPECIFIER.profileService)
  const device = seed(SEED_SPECIFIER.profileDevice)
  const created = now.toISOString()
  return new TextEncoder().encode(`${JSON.stringify({ version: VERSION, created, service, device }, null, 2)}\n`)
}

const FOLDER = "mesh"
const FILE = "host.json"
const VERSION = "1"
/** What profiles have. */
const SEED_OCTETS = 32
