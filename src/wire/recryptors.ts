import { type CertificateIdentity, readCertificate } from "../crypto/cms/certificate.ts"
import { digestOf, sha256 } from "../crypto/primitives/hash.ts"
import { type CmsRecryption, cmsRecogniser, cmsRecryptor, cmsRestorer } from "../crypto/recryption/cms.ts"
import { openPgpRecryptor, openPgpRestorer } from "../crypto/recryption/openpgp.ts"
import type { Recryptor } from "../crypto/recryption/recryptor.ts"
import type { Restorers } from "../pipeline/restore.ts"
import { isLive } from "../store/account.ts"
import type { Account, AccountKey, Device, People } from "../store/people.ts"

/** What messages become for a device. */
export interface DeviceRecryptors {
  /** From each of the account's keys to this device. */
  readonly recryptors: readonly Recryptor[]
  /** Names the device, its certificates and all its recryption keys: the same for as long as they recrypt the same way. */
  readonly scope: string
}

/**
 * The recryptors of devices, made of the scalars in the store and kept until somebody changes: after a revocation nothing of the
 * device's is left here.
 */
export class AccountRecryptors {
  readonly #people: People
  readonly #devices = new Map<string, DeviceRecryptors>()
  readonly #restorers = new Map<string, Restorers>()
  #sequence = -1

  constructor(people: People) {
    this.#people = people
  }

  /** @param device as `people` has just given it */
  forDevice(device: Device): DeviceRecryptors {
    this.#forget(this.#people.seenSequence)
    return remembered(this.#devices, device.id, () => ({
      scope: this.#scope(device),
      recryptors: this.#scalars(device, ({ key, scalar }) => {
        if (key.format === "openpgp") return openPgpRecryptor({ keyId: keyIdOf(key), scalar })
        const recryption = cmsRecryption(key, device, scalar)
        return recryption && cmsRecryptor(recryption)
      }),
    }))
  }

  #scope(device: Device): string {
    const digest = digestOf("sha256").update(Buffer.from(device.id))
    for (const certificate of device.certificates) digest.update(sha256(certificate))
    for (const { key, scalar } of this.#people.recryptionScalars(device)) {
      digest.update(sha256(Buffer.from(key.id))).update(sha256(scalar))
      scalar.fill(0)
    }
    return Buffer.from(digest.digest()).toString("base64url")
  }

  /** From the forms of the account's devices back to the account. */
  restorers(account: Account): Restorers {
    this.refresh()
    return remembered(this.#restorers, account.address, () => {
      const devices = this.#people.devices(account.address)
      const live = devices.filter(isLive).map((device) => this.#restorersOf(device))
      const revoked = devices.filter((device) => !isLive(device))
      return {
        smime: live.flatMap((restorers) => restorers.filter(({ format }) => format === "cms")),
        openpgp: live.map((restorers) => restorers.filter(({ format }) => format === "openpgp")),
        keyIds: account.keys.filter(({ format }) => format === "openpgp").map(keyIdOf),
        revoked: revoked.flatMap(identitiesOf).map(cmsRecogniser),
      }
    })
  }

  /** S/MIME: from the device's certificate, to the account's current key. OpenPGP: of each of the account's keys. */
  #restorersOf(device: Device): readonly Recryptor[] {
    return this.#scalars(device, ({ key, scalar }) => {
      if (key.format === "openpgp") return openPgpRestorer({ keyId: keyIdOf(key), scalar })
      const recryption = key.current ? cmsRecryption(key, device, scalar) : null
      return recryption && cmsRestorer(recryption)
    })
  }

  /** Forgets everything when people or devices have changed. */
  refresh(): void {
    this.#forget(this.#people.changeSequence())
  }

  /** Forgets everything. */
  forget(): void {
    this.#forget(-1)
  }

  #forget(sequence: number): void {
    if (sequence === this.#sequence) return
    this.#sequence = sequence
    this.#devices.clear()
    this.#restorers.clear()
  }

  #scalars(
    device: Device,
    make: (of: { readonly key: AccountKey; readonly scalar: Uint8Array }) => Recryptor | null,
  ): readonly Recryptor[] {
    return this.#people.recryptionScalars(device).flatMap((of) => {
      const recryptor = make(of)
      of.scalar.fill(0)
      return recryptor ? [recryptor] : []
    })
  }
}

/** Every S/MIME certificate that a device had; renewal keeps key, issuer and serial number. */
export function identitiesOf(device: Device): CertificateIdentity[] {
  return device.certificates.map((certificate) => readCertificate(certificate).identity)
}

/** Of an OpenPGP key: that of its encryption subkey. */
function keyIdOf(key: AccountKey): Uint8Array {
  return Buffer.from(key.id, "hex")
}

/** @returns null when the key or the device is not S/MIME */
function cmsRecryption(key: AccountKey, device: Device, scalar: Uint8Array): CmsRecryption | null {
  const [to] = identitiesOf(device)
  return key.format === "smime" && to
    ? { from: readCertificate(key.certificate).identity, to, scalar: Uint8Array.from(scalar) }
    : null
}

function remembered<T>(cache: Map<string, T>, key: string, make: () => T): T {
  const known = cache.get(key)
  if (known !== undefined) return known
  const made = make()
  cache.set(key, made)
  return made
}
