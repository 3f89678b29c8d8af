import { GatewayError } from "../errors.ts"
import { type Database, dateIn, numberIn, octetsIn, type Row, textIn } from "./database.ts"

/** A format of end-to-end encryption. */
export type Format = "smime" | "openpgp"

/** A published key of an account. The secret half is in the owner's keyring, never here. */
export interface AccountKey {
  readonly id: string
  readonly format: Format
  /** X.509 in DER, or a binary OpenPGP certificate. */
  readonly certificate: Uint8Array
  /** Used for what arrives now; older keys of the format stay for what is stored. */
  readonly current: boolean
  readonly addedAt: Date
}

/** Somebody who gets mail here. */
export interface Account {
  /** In the form of {@link addressKey}. */
  readonly address: string
  readonly name: string
  /** The first is used for arriving mail. */
  readonly formats: readonly Format[]
  /** Personal root, DER. */
  readonly root: Uint8Array
  /** Personal intermediate, DER. */
  readonly intermediate: Uint8Array
  /** Oldest first. */
  readonly keys: readonly AccountKey[]
  /** The signed profile document, as published. */
  readonly profile: string
  readonly addedAt: Date
}

/** Keys that the mail of an account has been stored for, the current one first; none, where it is stored in another format. */
export function storageKeys(
  { formats, keys }: Pick<Account, "formats" | "keys">,
  format: Format,
): readonly AccountKey[] {
  return formats[0] === format
    ? keys.filter((key) => key.format === format).toSorted((a, b) => Number(b.current) - Number(a.current))
    : []
}

/** How a device is known by its TLS certificate. */
export interface DeviceLogin {
  /** SHA-256 of the certificate's SubjectPublicKeyInfo. */
  readonly key: Uint8Array
  /** When the certificate that was issued last ends: whoever shows the key has the rights of that one. */
  readonly notAfter: Date
}

/** One mail client of an account, with its own keys and its own password. */
export interface Device {
  readonly id: string
  /** {@link Account.address}. */
  readonly account: string
  /** `[A-Za-z0-9._-]{1,64}`. */
  readonly name: string
  /** IMAP only, no submission. */
  readonly readOnly: boolean
  /** S/MIME encryption certificates, DER, newest first. */
  readonly certificates: readonly Uint8Array[]
  /** DER; null: the device does not sign with S/MIME. */
  readonly signingCertificate: Uint8Array | null
  /** null: it logs in by password only, or is revoked. */
  readonly login: DeviceLogin | null
  readonly addedAt: Date
  /** null: live. */
  readonly revokedAt: Date | null
}

/** Neither revoked nor waiting for it. */
export function isLive(device: Device): boolean {
  return device.revokedAt === null
}

/** Where an alias leads: somebody here, or an address elsewhere, which what comes leaves for. */
export interface AliasTarget {
  /** Of somebody here in the form of {@link addressKey}; elsewhere as given. */
  readonly address: string
  /** null: here. `encrypted`: to a key of the target, or it waits. `clear`: as policy has it for all leaving mail. */
  readonly forward: "encrypted" | "clear" | null
}

/** Everybody, as of one change sequence. */
export interface Population {
  readonly sequence: number
  readonly accounts: ReadonlyMap<string, Account>
  /** Those that may log in with a password, by its keyed hash in base64. */
  readonly devicesByPassword: ReadonlyMap<string, Device>
  /** Those that may log in with a certificate, by the fingerprint of its key in base64. */
  readonly devicesByKey: ReadonlyMap<string, Device>
  /** By account. */
  readonly devicesOf: ReadonlyMap<string, readonly Device[]>
  readonly aliases: ReadonlyMap<string, readonly AliasTarget[]>
}

/** Reads everybody. @throws GatewayError STATE_CORRUPT */
export function readPopulation({ sql }: Database, sequence: number): Population {
  const keys = Map.groupBy(sql.all`SELECT * FROM account_key ORDER BY place`, (row) => textIn(row, "account"))
  const certificates = Map.groupBy(sql.all`SELECT * FROM device_certificate ORDER BY place DESC`, (row) =>
    textIn(row, "device"),
  )
  const accounts = sql.all`SELECT * FROM account ORDER BY place`.map((row) =>
    accountIn(row, keys.get(textIn(row, "address")) ?? []),
  )
  const targets = Map.groupBy(sql.all`SELECT * FROM alias_target ORDER BY place`, (row) => textIn(row, "alias"))
  const rows = sql.all`SELECT * FROM device ORDER BY place`
  const devices = rows.map((row) => deviceIn(row, certificates.get(textIn(row, "id")) ?? []))
  return {
    sequence,
    accounts: new Map(accounts.map((account) => [account.address, account])),
    devicesByPassword: new Map(
      devices.flatMap((device, at) => {
        const row = rows[at]
        return row === undefined || row["password"] === null ? [] : [[octetsName(octetsIn(row, "password")), device]]
      }),
    ),
    devicesByKey: new Map(
      devices.flatMap((device) => (device.login === null ? [] : [[octetsName(device.login.key), device]])),
    ),
    devicesOf: Map.groupBy(devices, (device) => device.account),
    aliases: new Map([...targets].map(([alias, rows]) => [alias, rows.map(targetIn)])),
  }
}

/** The name of a hash: of a stored password, or of a login key. */
export function octetsName(hash: Uint8Array): string {
  return Buffer.from(hash).toString("base64")
}

function accountIn(row: Row, keys: readonly Row[]): Account {
  return {
    address: textIn(row, "address"),
    name: textIn(row, "name"),
    formats: textIn(row, "formats").split(",").map(formatOf),
    root: octetsIn(row, "root"),
    intermediate: octetsIn(row, "intermediate"),
    keys: keys.map((key) => ({
      id: textIn(key, "id"),
      format: formatIn(key),
      certificate: octetsIn(key, "certificate"),
      current: numberIn(key, "current") === 1,
      addedAt: dateIn(key, "added_at"),
    })),
    profile: textIn(row, "profile"),
    addedAt: dateIn(row, "added_at"),
  }
}

function deviceIn(row: Row, certificates: readonly Row[]): Device {
  return {
    id: textIn(row, "id"),
    account: textIn(row, "account"),
    name: textIn(row, "name"),
    readOnly: numberIn(row, "read_only") === 1,
    certificates: certificates.map((certificate) => octetsIn(certificate, "certificate")),
    signingCertificate: row["signing_certificate"] === null ? null : octetsIn(row, "signing_certificate"),
    login: row["login_key"] === null ? null : { key: octetsIn(row, "login_key"), notAfter: dateIn(row, "login_until") },
    addedAt: dateIn(row, "added_at"),
    revokedAt: row["revoked_at"] === null ? null : dateIn(row, "revoked_at"),
  }
}

function targetIn(row: Row): AliasTarget {
  const [address, forward] = [textIn(row, "target"), textIn(row, "forward")]
  if (forward === "") return { address, forward: null }
  if (forward === "encrypted" || forward === "clear") return { address, forward }
  throw new GatewayError("STATE_CORRUPT", `people: alias target ${address} is forwarded ${forward}`)
}

/** @throws GatewayError STATE_CORRUPT */
export function formatIn(row: Row): Format {
  return formatOf(textIn(row, "format"))
}

function formatOf(text: string): Format {
  if (text === "smime" || text === "openpgp") return text
  throw new GatewayError("STATE_CORRUPT", `people: format ${text} is unknown`)
}
