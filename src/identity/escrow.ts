/** PURE. What the server keeps for an owner whose keyring is lost: the keyring itself, opened by a key that only shares of the account's seed make. */
import { openingKey } from "../crypto/dare/agreement.ts"
import { readEnvelope, signaturesOf } from "../crypto/dare/envelope.ts"
import { isWitnessed, openEnvelope } from "../crypto/dare/open.ts"
import { deriveEnvelopeSecrets, sealWhole } from "../crypto/dare/seal.ts"
import { isMontgomery } from "../crypto/mesh-keys/key.ts"
import { escrowSeed, recoverSeed } from "../crypto/shamir/escrow.ts"
import { parseSeed, printSeed, SEED_SPECIFIER, type Seed } from "../crypto/udf/seed.ts"
import { GatewayError } from "../errors.ts"
import { signerWith } from "../mesh/key-data.ts"
import type { ProfileUser } from "../mesh/profile.ts"
import { makeProfileUser, userKeys } from "../mesh/profile-make.ts"
import { checkSigned, envelopeLabels, untrusted } from "../mesh/signed.ts"
import type { Making } from "./issuing.ts"
import { formatJson } from "./json.ts"
import { administered, type MeshPerson } from "./mesh-account.ts"
import { liveDevices, type Person, parsePerson } from "./person.ts"

/** The person, without devices that are revoked, encrypted to the EscrowEncryption of its own profile and signed by its administrator. */
export function sealEscrow(person: MeshPerson, { now, random }: Making): Uint8Array {
  const account = administered(person.mesh)
  const { udf: kid, key } = account.profile.keys.escrow
  const { curve, octets } = key
  if (!isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh: ${curve} is not encrypted to`)
  const content = formatJson({ ...person, devices: liveDevices(person) })
  return sealWhole(
    new TextEncoder().encode(content),
    {
      encryption: {
        recipients: [{ kind: "agreement", kid, key: { curve, octets } }],
        secrets: deriveEnvelopeSecrets(random(SEED_OCTETS), "escrow"),
      },
      signers: [signerWith(account.administrator)],
      ...envelopeLabels("PosternEscrow", { created: now }),
    },
    "json-b",
  )
}

/**
 * Checks, as far as who cannot open it can, that the account's administrator has written this escrow.
 * @throws GatewayError MESH_UNTRUSTED, MESH_OBJECT_INVALID; as `readEnvelope`
 */
export function checkEscrow(escrow: Uint8Array, account: Pick<ProfileUser, "keys">): void {
  if (escrow.length > MAX_ESCROW_OCTETS)
    throw new GatewayError("MESH_OBJECT_INVALID", `escrow: over ${MAX_ESCROW_OCTETS} octets`)
  const read = readEnvelope(escrow)
  if (signaturesOf(read).length !== 1 || !isWitnessed(read))
    throw untrusted("escrow has not one signature with a witness")
  checkSigned(read, account.keys.administrator)
  if (!read.header.recipients.some(({ kid }) => kid === account.keys.escrow.udf))
    throw untrusted("escrow is for another key than the account's")
}

/** Shares of the account's seed: any `threshold` of them open what the server keeps, fewer say nothing. @throws GatewayError SHARES_INVALID */
export function recoveryShares({ mesh }: MeshPerson, threshold: number, count: number, { random }: Making): string[] {
  return escrowSeed(parseSeed(mesh.seed), threshold, count, random)
}

/**
 * The person as the server's escrow has it, with shares of its seed.
 * @throws GatewayError SHARES_INVALID, also when they are not those of this escrow's account; UDF_MALFORMED for what is no share; MESH_UNTRUSTED for an
 * escrow that others have changed, or that is of another address; as {@link checkEscrow} and `parsePerson`
 */
export function restorePerson(address: string, shares: readonly string[], escrow: Uint8Array): Person {
  const seed = recoverSeed(shares)
  if (seed.specifier !== SEED_SPECIFIER.profileAccount) throw foreignShares()
  const { profile, escrow: opening } = accountOf(seed, address)
  checkOwner(escrow, profile)
  const { content } = openEnvelope(readEnvelope(escrow), [openingKey(profile.keys.escrow.udf, opening)])
  const person = parsePerson(new TextDecoder().decode(content))
  if (person.address !== address || person.mesh?.seed !== printSeed(seed))
    throw untrusted("escrow is of another account")
  return person
}

/** Says which of the two it is that does not fit: the shares, or the escrow. */
function checkOwner(escrow: Uint8Array, { keys }: ProfileUser): void {
  const signers = signaturesOf(readEnvelope(escrow)).map(({ kid }) => kid)
  if (!signers.includes(keys.administrator.udf)) throw foreignShares()
  checkEscrow(escrow, { keys })
}

function accountOf(seed: Seed, address: string) {
  // Its keys alone are asked for: neither service nor time changes them.
  const profile = makeProfileUser(seed, { address, serviceUdf: null, created: new Date(0) })
  return { profile, escrow: userKeys(seed).escrow }
}

function foreignShares(): GatewayError {
  return new GatewayError("SHARES_INVALID", "shares: they are of another account, or one of them is wrong")
}

const SEED_OCTETS = 32
/** A device takes four to six KB. */
const MAX_ESCROW_OCTETS = 2_000_000
