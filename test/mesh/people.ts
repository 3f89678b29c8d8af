import { deriveEnvelopeSecrets } from "../../src/crypto/dare/seal.ts"
import { SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { activatedKeys, activatedPublicKeys, activationSeed } from "../../src/mesh/activation.ts"
import { makeConnectionDevice } from "../../src/mesh/connection.ts"
import {
  type AccountKind,
  deviceKeys,
  makeProfileDevice,
  makeProfileService,
  makeProfileUser,
  userKeys,
} from "../../src/mesh/profile-make.ts"

export const CREATED = new Date("2026-11-26T10:00:00Z")
const fill = (octet: number) => new Uint8Array(32).fill(octet)

/** A person's account, the same in every run. */
export function account(address: string, octet: number, serviceUdf: string | null = null, kind: AccountKind = "user") {
  const seed = { specifier: SEED_SPECIFIER.profileAccount, octets: fill(octet) }
  const keys = userKeys(seed, kind)
  const profile = makeProfileUser(seed, { address, serviceUdf, created: CREATED }, kind)
  return { profile, keys, administrator: keys.administrator }
}

export type Account = ReturnType<typeof account>

/** A service, and what it signs with. */
export function service(octet: number) {
  const seed = { specifier: SEED_SPECIFIER.profileService, octets: fill(octet) }
  return { profile: makeProfileService(seed, CREATED), seed }
}

/** A device, connected to the account with these roles. */
export function connectedDevice(
  to: Account,
  octet: number,
  roles: readonly string[],
  notOnOrAfter: Date | null = null,
) {
  const seed = { specifier: SEED_SPECIFIER.profileDevice, octets: fill(octet) }
  const profile = makeProfileDevice(seed, CREATED)
  const activation = activationSeed(fill(octet + 1))
  const base = deviceKeys(seed)
  const device = { profile, keys: activatedPublicKeys(profile, activation) }
  const terms = { roles, created: CREATED, notOnOrAfter }
  return {
    profile,
    base,
    activation,
    keys: activatedKeys(base, activation, 2024),
    publicKeys: device.keys,
    connection: makeConnectionDevice(to, device, terms),
    secrets: deriveEnvelopeSecrets(fill(octet + 2), "activation"),
  }
}
