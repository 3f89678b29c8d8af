import { type HmacKey, hmacKey, hmacSha256, sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { type Address, addressKey, formatAddress, parseAddress, writtenKey } from "../message/address.ts"
import {
  type Account,
  type AccountKey,
  type AliasTarget,
  type Device,
  type DeviceLogin,
  octetsName,
  type Population,
  readPopulation,
} from "./account.ts"
import { changing, dateIn, octetsIn, type State } from "./database.ts"
import type { RecryptionKeys, RecryptionScalar } from "./recryption-keys.ts"
import { type Meaning, resolveAddress } from "./resolve.ts"
import type { UpstreamCredentials } from "./upstream-credentials.ts"

export type { Account, AccountKey, AliasTarget, Device, DeviceLogin, Format } from "./account.ts"

/** What {@link People} needs to know besides the database. */
export interface PeopleOptions {
  /** Our domains, as A-labels. */
  readonly domains: readonly string[]
  /** Where mail to postmaster goes; null: to the first account. */
  readonly postmaster: string | null
  /** null: this process has no business with recryption keys (mx); what needs them throws. */
  readonly recryptionKeys: RecryptionKeys | null
  /** Destroyed with the account; absent where accounts are not removed. */
  readonly upstreamCredentials?: UpstreamCredentials
}

/** A live device, with its account. */
export interface KnownDevice {
  readonly account: Account
  readonly device: Device
}

/** What renewing a device replaces. */
export interface RenewedDevice {
  readonly certificate: Uint8Array | null
  readonly signingCertificate: Uint8Array | null
  readonly login: DeviceLogin | null
}

/** The changes that {@link People.updateAccount} can make; what is absent stays. */
export type AccountChange = Partial<Pick<Account, "name" | "formats" | "root" | "intermediate" | "profile">>

/** The people of this gateway, their devices and aliases. Reads are cached until the change sequence moves. */
export class People {
  readonly #database: State
  readonly #options: PeopleOptions
  readonly #domains: ReadonlySet<string>
  readonly #passwordKey: HmacKey
  #cache: Population | null = null

  /** Finishes revocations that a crash interrupted. */
  constructor(database: State, options: PeopleOptions) {
    this.#database = database
    this.#options = options
    this.#domains = new Set(options.domains)
    this.#passwordKey = hmacKey(
      octetsIn(database.sql.get`SELECT value FROM setting WHERE name = 'password key'`, "value"),
    )
    this.#finishRevocations()
  }

  /** Moves whenever people, devices or aliases change, in whatever process. */
  changeSequence(): number {
    return this.#database.changeSequence()
  }

  /** That of what is in memory: all that this object gave out is of it, or older. */
  get seenSequence(): number {
    return this.#cache?.sequence ?? this.changeSequence()
  }

  /** @returns null when there is no such account */
  account(address: string): Account | null {
    const key = writtenKey(address)
    return key === null ? null : (this.#cached().accounts.get(key) ?? null)
  }

  /** First added first. */
  accounts(): Account[] {
    return [...this.#cached().accounts.values()]
  }

  /** @throws GatewayError ACCOUNT_EXISTS, ALIAS_EXISTS (the address is an alias), ADDRESS_SYNTAX, ACCOUNT_UNKNOWN (not our domain) */
  addAccount(account: Omit<Account, "addedAt">, at: Date): void {
    const address = this.#ours(account.address)
    this.#change(() => {
      const cache = this.#cached()
      if (cache.accounts.has(address)) throw new GatewayError("ACCOUNT_EXISTS", `account ${address}: exists already`)
      if (cache.aliases.has(address)) throw new GatewayError("ALIAS_EXISTS", `account ${address}: is an alias`)
      this.#database.sql.run`
        INSERT INTO account (address, name, formats, root, intermediate, profile, added_at) VALUES (${address}, ${account.name},
          ${account.formats.join(",")}, ${account.root}, ${account.intermediate}, ${account.profile}, ${at.getTime()})`
      for (const key of account.keys) this.#insertKey(address, key)
    })
  }

  /** @throws GatewayError ACCOUNT_UNKNOWN */
  updateAccount(address: string, change: AccountChange): void {
    this.#change(() => {
      const account = { ...this.#known(address), ...change }
      this.#database.sql.run`
        UPDATE account SET name = ${account.name}, formats = ${account.formats.join(",")}, root = ${account.root},
          intermediate = ${account.intermediate}, profile = ${account.profile} WHERE address = ${account.address}`
    })
  }

  /**
   * Gives the account a new current key of its format, and each device the scalar that recrypts from it (`account rekey`).
   * @throws GatewayError ACCOUNT_UNKNOWN
   */
  addAccountKey(
    address: string,
    key: AccountKey,
    scalars: readonly { readonly device: string; readonly scalar: Uint8Array }[],
  ): void {
    this.#change(() => {
      const account = this.#known(address)
      if (key.current)
        this.#database.sql.run`
          UPDATE account_key SET current = 0 WHERE account = ${account.address} AND format = ${key.format}`
      this.#insertKey(account.address, key)
      for (const { device, scalar } of scalars) this.#recryptionKeys().add(device, [{ keyId: key.id, scalar }])
    })
  }

  /** Puts a renewed certificate in place of the key's old one: same key, new dates, or other subkeys. */
  replaceKeyCertificate(keyId: string, certificate: Uint8Array): void {
    this.#change(() => {
      const { changes } = this.#database.sql
        .run`UPDATE account_key SET certificate = ${certificate} WHERE id = ${keyId}`
      if (changes === 0) throw new GatewayError("ACCOUNT_UNKNOWN", `account key ${keyId}: unknown`)
    })
  }

  /**
   * Removes the account, its devices and their recryption keys, its upstream credential, and its place in aliases. Stored mail is not touched.
   * @throws GatewayError ACCOUNT_UNKNOWN
   */
  removeAccount(address: string): void {
    this.#change(() => {
      const account = this.#known(address).address
      for (const device of this.devices(account)) this.#recryptionKeys().destroy(device.id)
      this.#options.upstreamCredentials?.remove(account)
      this.#database.sql.run`DELETE FROM account WHERE address = ${account}`
      this.#database.sql.run`DELETE FROM alias_target WHERE target = ${account}`
    })
  }

  /** What mail to this address means: accounts and whom it is forwarded to (aliases followed, `+tag` ignored, postmaster always somebody), or not ours. */
  resolve(address: Address): Meaning {
    const { accounts, aliases } = this.#cached()
    const postmaster = this.#options.postmaster === null ? null : writtenKey(this.#options.postmaster)
    return resolveAddress(address, { domains: this.#domains, accounts, aliases, postmaster })
  }

  /**
   * Makes mail to `alias` go to each of `targets`.
   * @param clear what goes to those of them elsewhere may leave in clear, where policy lets it
   * @throws GatewayError ALIAS_EXISTS, ACCOUNT_EXISTS (the alias is an account), ACCOUNT_UNKNOWN (a target is nobody here), USAGE (nobody of them is
   *   elsewhere whom `clear` could be about)
   */
  addAlias(alias: string, targets: readonly string[], clear = false): void {
    const key = this.#ours(alias)
    this.#change(() => {
      const cache = this.#cached()
      if (cache.accounts.has(key)) throw new GatewayError("ACCOUNT_EXISTS", `alias ${key}: is an account`)
      if (cache.aliases.has(key))
        throw new GatewayError(
          "ALIAS_EXISTS",
          `alias ${key}: exists already; remove it first to have it lead elsewhere`,
        )
      const leading = new Map(targets.map((target) => this.#target(key, parseAddress(target), clear)))
      if (clear && [...leading.values()].every(({ forward }) => forward === null))
        throw new GatewayError(
          "USAGE",
          `alias ${key}: none of its targets is elsewhere, so that nothing leaves in clear`,
        )
      for (const { address, forward } of leading.values())
        this.#database.sql.run`
          INSERT INTO alias_target (alias, target, forward) VALUES (${key}, ${address}, ${forward ?? ""})`
    })
  }

  /** @throws GatewayError ALIAS_UNKNOWN */
  removeAlias(alias: string): void {
    this.#change(() => {
      const { changes } = this.#database.sql.run`DELETE FROM alias_target WHERE alias = ${writtenKey(alias)}`
      if (changes === 0) throw new GatewayError("ALIAS_UNKNOWN", `alias ${alias}: unknown`)
    })
  }

  /** Each alias with its targets, as given. */
  aliases(): ReadonlyMap<string, readonly AliasTarget[]> {
    return this.#cached().aliases
  }

  /** Revoked ones too, first added first. */
  devices(account: string): Device[] {
    const key = writtenKey(account)
    return key === null ? [] : [...(this.#cached().devicesOf.get(key) ?? [])]
  }

  /** @returns the live device of that name, else the one revoked last, else null */
  device(account: string, name: string): Device | null {
    const named = this.devices(account).filter((device) => device.name === name)
    return named.find((device) => device.revokedAt === null) ?? named.at(-1) ?? null
  }

  /**
   * Adds a device; each scalar is wrapped under a key of its own.
   * @param passwordHash what {@link hashPassword} gives
   * @throws GatewayError ACCOUNT_UNKNOWN, DEVICE_EXISTS (also for a login key that another has), USAGE (name)
   */
  addDevice(
    device: Omit<Device, "addedAt" | "revokedAt">,
    passwordHash: Uint8Array,
    recryption: readonly RecryptionScalar[],
    at: Date,
  ): void {
    if (!DEVICE_NAME.test(device.name))
      throw new GatewayError("USAGE", `device ${JSON.stringify(device.name)}: a name is 1 to 64 of A-Z a-z 0-9 . _ -`)
    this.#change(() => {
      const account = this.#known(device.account).address
      if (this.device(account, device.name)?.revokedAt === null)
        throw new GatewayError("DEVICE_EXISTS", `device ${device.name} of ${account}: exists already`)
      this.#refuseSharedKey(device.id, device.login)
      this.#database.sql.run`
        INSERT INTO device (id, account, name, read_only, password, signing_certificate, login_key, login_until, added_at)
        VALUES (${device.id}, ${account}, ${device.name}, ${Number(device.readOnly)}, ${this.#stored(passwordHash)},
          ${device.signingCertificate}, ${device.login?.key ?? null}, ${device.login?.notAfter.getTime() ?? null}, ${at.getTime()})`
      for (const certificate of device.certificates.toReversed()) this.#insertCertificate(device.id, certificate)
      this.#recryptionKeys().add(device.id, recryption)
    })
  }

  /** Adds a renewed encryption certificate, and replaces signing certificate and login; null leaves each as it was. @throws DEVICE_EXISTS: another has this login key */
  renewDevice(id: string, { certificate, signingCertificate, login }: RenewedDevice): void {
    this.#change(() => {
      this.#refuseSharedKey(id, login)
      if (certificate !== null) this.#insertCertificate(id, certificate)
      if (signingCertificate !== null)
        this.#database.sql.run`UPDATE device SET signing_certificate = ${signingCertificate} WHERE id = ${id}`
      if (login !== null)
        this.#database.sql.run`
          UPDATE device SET login_key = ${login.key}, login_until = ${login.notAfter.getTime()} WHERE id = ${id}`
    })
  }

  /** @returns null alike for a wrong name, a wrong password and a revoked device */
  authenticate(username: string, password: string): KnownDevice | null {
    const { devicesByPassword, accounts } = this.#cached()
    // By a keyed hash of 142 random bits: how long the look-up takes says nothing that helps.
    const device = devicesByPassword.get(octetsName(this.#stored(hashPassword(password))))
    if (device === undefined || device.revokedAt !== null || device.account !== writtenKey(username)) return null
    const account = accounts.get(device.account)
    return account === undefined ? null : { account, device }
  }

  /**
   * The live device whose login certificate holds the key with this fingerprint; whether the certificate still holds is asked elsewhere.
   * @returns null: there is none
   */
  deviceOfKey(fingerprint: Uint8Array): KnownDevice | null {
    const { devicesByKey, accounts } = this.#cached()
    const device = devicesByKey.get(octetsName(fingerprint))
    if (device === undefined || device.revokedAt !== null) return null
    const account = accounts.get(device.account)
    return account === undefined ? null : { account, device }
  }

  /**
   * The device's recryption keys, one for each account key it may read. Fill the scalars with zeros when done.
   * @throws GatewayError STATE_CORRUPT
   */
  recryptionScalars(device: Device): { readonly key: AccountKey; readonly scalar: Uint8Array }[] {
    const keys = this.account(device.account)?.keys ?? []
    return this.#recryptionKeys()
      .scalars(device.id)
      .flatMap(({ keyId, scalar }) => keys.filter((key) => key.id === keyId).map((key) => ({ key, scalar })))
  }

  /**
   * Destroys the device's recryption keys, and forgets its password and its login certificate. Who must hear of it is another matter: `waitForAcks`.
   * @throws GatewayError DEVICE_UNKNOWN when there is no live device of that name
   */
  revokeDevice(account: string, name: string, at: Date): void {
    this.#change(() => {
      const device = this.device(account, name)
      if (device === null || device.revokedAt !== null)
        throw new GatewayError("DEVICE_UNKNOWN", `device ${name} of ${account}: there is no such live device`)
      this.#revoke(device.id, at)
    })
  }

  /** Targets that differ in case only are one. */
  #target(alias: string, address: Address, clear: boolean): readonly [key: string, AliasTarget] {
    const { kind } = this.resolve(address)
    if (kind === "unknown")
      throw new GatewayError(
        "ACCOUNT_UNKNOWN",
        `alias ${alias}: target ${formatAddress(address)} is no account or alias here`,
      )
    const key = addressKey(address)
    if (kind === "accounts") return [key, { address: key, forward: null }]
    return [key, { address: formatAddress(address), forward: clear ? "clear" : "encrypted" }]
  }

  #finishRevocations(): void {
    const keys = this.#options.recryptionKeys
    const interrupted = keys?.interrupted() ?? []
    if (interrupted.length > 0)
      this.#change(() => {
        for (const device of interrupted) {
          const row = this.#database.sql
            .get`SELECT coalesce(revoked_at, added_at) AS at FROM device WHERE id = ${device}`
          this.#revoke(device, dateIn(row, "at"))
        }
      })
  }

  #revoke(device: string, at: Date): void {
    this.#recryptionKeys().destroy(device)
    this.#database.sql.run`
      UPDATE device SET revoked_at = ${at.getTime()}, password = NULL, login_key = NULL, login_until = NULL WHERE id = ${device}`
  }

  #insertKey(address: string, key: AccountKey): void {
    this.#database.sql.run`
      INSERT INTO account_key (id, account, format, certificate, current, added_at) VALUES (${key.id}, ${address}, ${key.format},
        ${key.certificate}, ${Number(key.current)}, ${key.addedAt.getTime()})`
  }

  #insertCertificate(device: string, certificate: Uint8Array): void {
    this.#database.sql.run`INSERT INTO device_certificate (device, certificate) VALUES (${device}, ${certificate})`
  }

  /** A login key is one device's: whoever shows it must be one and no other. */
  #refuseSharedKey(device: string, login: DeviceLogin | null): void {
    const owner = login === null ? null : this.deviceOfKey(login.key)
    if (owner !== null && owner.device.id !== device)
      throw new GatewayError("DEVICE_EXISTS", `device ${device}: its login key is another device's`)
  }

  /** One transaction; the cache is dropped and the sequence moves, here and for every other process. */
  #change(act: () => void): void {
    try {
      changing(this.#database, act)
    } finally {
      this.#cache = null
    }
  }

  #cached(): Population {
    const sequence = this.changeSequence()
    if (this.#cache?.sequence === sequence) return this.#cache
    this.#cache = readPopulation(this.#database, sequence)
    return this.#cache
  }

  #known(address: string): Account {
    const account = this.account(address)
    if (account === null) throw new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: unknown`)
    return account
  }

  #ours(address: string): string {
    const parsed = parseAddress(address)
    if (!this.#domains.has(parsed.domain))
      throw new GatewayError("ACCOUNT_UNKNOWN", `address ${address}: its domain is not one of this gateway`)
    return addressKey(parsed)
  }

  #stored(passwordHash: Uint8Array): Uint8Array {
    return hmacSha256(this.#passwordKey).update(passwordHash).digest()
  }

  #recryptionKeys(): RecryptionKeys {
    if (this.#options.recryptionKeys === null)
      throw new GatewayError("STATE_CORRUPT", "people: this role has no access to recryption keys")
    return this.#options.recryptionKeys
  }
}

/** SHA-256 of a device password. Enough for 142 random bits: there is nothing to guess, so nothing to slow down. */
export function hashPassword(password: string): Uint8Array {
  return sha256(new TextEncoder().encode(password))
}

const DEVICE_NAME = /^[A-Za-z0-9._-]{1,64}$/
