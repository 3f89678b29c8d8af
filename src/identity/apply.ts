import { publicKeyFingerprint, readCertificate } from "../crypto/cms/certificate.ts"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Account, AccountKey, DeviceLogin } from "../store/account.ts"
import type { Database, State } from "../store/database.ts"
import type { GatewayKeys } from "../store/gateway-keys.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import type { MeshHost } from "../store/mesh-host.ts"
import type { People } from "../store/people.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { keepEscrow, leave, type MeshTarget, putMesh, republishMail } from "./apply-mesh.ts"
import { fitnessOf } from "./gateway-certificate.ts"
import { verifyProfile } from "./profile.ts"
import type { Change, Republished, Request, SignedRequest } from "./requests.ts"
import { verifyRequest } from "./requests.ts"

/** The state that requests change: people with the keys that sign for them, and the database they live in. */
export interface RequestTarget {
  readonly people: People
  readonly gatewayKeys: GatewayKeys
  readonly database: State
  /** What this gateway is in the Mesh; absent: requests that are about it are refused. */
  readonly meshHost?: () => MeshHost
}

/** The same, with what is made of it for each request. */
type Target = Omit<RequestTarget, "meshHost"> & { readonly mesh: MeshTarget }

/**
 * Checks a signed request against what is known, and applies it whole or not at all. The one way in which an account's keys and
 * devices change. `fingerprint`: only what this personal root signed; null: whichever may sign.
 * @throws GatewayError REQUEST_INVALID (tampered, foreign, applied before, contradicts itself), ACCOUNT_UNKNOWN, ACCOUNT_EXISTS,
 * DEVICE_EXISTS, DEVICE_UNKNOWN, GATEWAY_KEY_UNKNOWN, GATEWAY_KEY_STATE, MESH_UNTRUSTED, MESH_EXPIRED, MESH_OBJECT_INVALID
 */
export function applyRequest(
  target: RequestTarget,
  text: string,
  now: Date,
  fingerprint: string | null = null,
): SignedRequest {
  const { people, database, meshHost } = target
  const mesh = { accounts: new MeshAccounts(database), host: meshHost ?? null }
  const signed = verifyRequest(text, (address) => people.account(address)?.root ?? null)
  if (fingerprint !== null && signed.fingerprint !== fingerprint)
    throw invalid(`is signed by ${signed.fingerprint}, not by ${fingerprint}`)
  const { request } = signed
  database.transaction(() => {
    recordOnce(database, request, now)
    applyChange({ ...target, mesh }, request, now)
    if (request.escrow !== null) keepEscrow(mesh, request.address, request.escrow)
  })
  return signed
}

function applyChange(target: Target, { address, change }: Request, now: Date): void {
  const { people, gatewayKeys, mesh } = target
  switch (change.kind) {
    case "account-add":
      addAccount(people, address, change, now)
      if (change.mesh !== null) putMesh(mesh, known(people, address), change.mesh, now)
      else if (change.mailProfile !== null) leave(mesh, known(people, address), change.mailProfile)
      return
    case "account-rekey":
      rekey(target, known(people, address), change)
      return
    case "account-renew":
      sameKey(known(people, address).root, change.root, "root")
      people.updateAccount(address, { root: change.root, intermediate: change.intermediate })
      republish(target, known(people, address), change)
      if (change.mesh !== null) putMesh(mesh, known(people, address), change.mesh, now)
      return
    case "account-mesh":
      republish(target, known(people, address), change)
      putMesh(mesh, known(people, address), change.mesh, now)
      return
    case "account-mesh-leave":
      leave(mesh, known(people, address), change.mailProfile)
      republish(target, known(people, address), { ...change, mailProfile: null })
      return
    case "account-remove":
      people.removeAccount(address)
      gatewayKeys.removeAll(address)
      return
    case "device-add":
      addDevice(target, known(people, address), change, now)
      return
    case "device-renew":
      renewDevice(target, known(people, address), change)
      return
    case "device-revoke":
      revokeDevice(target, known(people, address), change, now)
      return
    case "gateway-key-add":
      addGatewayKey(target, known(people, address), change, now)
      return
    case "gateway-key-remove":
      removeGatewayKey(target, known(people, address), change)
      return
    default:
      change satisfies never
  }
}

type ChangeOf<Kind extends Change["kind"]> = Extract<Change, { readonly kind: Kind }>

function addAccount(people: People, address: string, change: ChangeOf<"account-add">, now: Date): void {
  for (const format of change.formats)
    if (!change.keys.some((key) => key.format === format && key.current)) throw invalid(`has no current ${format} key`)
  for (const key of change.keys) checkKey(key, address)
  checkProfile(change.profile, { address, root: change.root })
  const { name, formats, root, intermediate, keys, profile } = change
  people.addAccount({ address, name, formats, root, intermediate, keys, profile }, now)
}

function rekey(target: Target, account: Account, change: ChangeOf<"account-rekey">): void {
  const { people } = target
  const live = new Set(liveDevices(people, account.address))
  for (const key of change.keys) {
    checkKey(key, account.address)
    // A device may have been revoked since the request was made; it gets nothing.
    const scalars = change.scalars.filter((scalar) => scalar.keyId === key.id && live.has(scalar.device))
    people.addAccountKey(account.address, key, scalars)
  }
  republish(target, known(people, account.address), change)
}

function addDevice(target: Target, account: Account, change: ChangeOf<"device-add">, now: Date): void {
  const { people } = target
  const { device } = change
  if (people.devices(account.address).some((other) => other.id === device.id))
    throw invalid("its device was added before")
  for (const certificate of [device.certificate, device.signingCertificate, device.loginCertificate])
    if (certificate !== null) checkAddress(certificate, account.address)
  for (const { keyId } of change.scalars)
    if (!account.keys.some((key) => key.id === keyId))
      throw invalid(`names an account key that is not known here: ${keyId}`)
  people.addDevice(
    {
      id: device.id,
      account: account.address,
      name: device.name,
      readOnly: device.readOnly,
      certificates: device.certificate === null ? [] : [device.certificate],
      signingCertificate: device.signingCertificate,
      login: loginOf(device.loginCertificate),
    },
    change.passwordHash,
    change.scalars.filter((scalar) => scalar.device === device.id),
    now,
  )
  republish(target, account, change)
}

function renewDevice(target: Target, account: Account, change: ChangeOf<"device-renew">): void {
  const { people } = target
  const { id, name, certificate, signingCertificate, loginCertificate } = change.device
  if (!liveDevices(people, account.address).includes(id))
    throw new GatewayError("DEVICE_UNKNOWN", `device ${name} of ${account.address}: there is no such live device`)
  for (const renewed of [certificate, signingCertificate, loginCertificate])
    if (renewed !== null) checkAddress(renewed, account.address)
  people.renewDevice(id, { certificate, signingCertificate, login: loginOf(loginCertificate) })
  republish(target, account, change)
}

function revokeDevice(target: Target, account: Account, change: ChangeOf<"device-revoke">, now: Date): void {
  const { people } = target
  const device = people.devices(account.address).find((candidate) => candidate.id === change.device)
  if (device === undefined)
    throw new GatewayError("DEVICE_UNKNOWN", `device ${change.name} of ${account.address}: there is no such device`)
  // An administrator may have been first; then only the owner's certificate is left to change.
  if (device.revokedAt === null) people.revokeDevice(account.address, device.name, now)
  republish(target, account, change)
}

function addGatewayKey(
  target: Target,
  account: Account,
  { key: id, certificate, ...published }: ChangeOf<"gateway-key-add">,
  now: Date,
): void {
  const { people, gatewayKeys } = target
  const key = gatewayKeys.of(account.address).find((candidate) => candidate.id === id)
  if (key === undefined || signingKeyState(key) === "retired")
    throw new GatewayError(
      "GATEWAY_KEY_UNKNOWN",
      `gateway key ${id} of ${account.address}: waits for no certificate here`,
    )
  republish(target, account, published)
  const fitness = fitnessOf(key, certificate, known(people, account.address), now)
  if (fitness.kind === "unfit") throw invalid(`certifies gateway key ${id}, but ${fitness.because}`)
  gatewayKeys.certify(account.address, id, certificate, now)
}

function removeGatewayKey(target: Target, account: Account, change: ChangeOf<"gateway-key-remove">): void {
  const { gatewayKeys } = target
  republish(target, account, change)
  // An administrator may have been first; then only the owner's certificate is left to change.
  if (gatewayKeys.of(account.address).some(({ id }) => id === change.key))
    gatewayKeys.remove(account.address, change.key)
}

function republish({ people, mesh }: Target, account: Account, change: Republished): void {
  if (change.mailProfile !== null) republishMail(mesh, account, change.mailProfile)
  for (const { id, certificate } of change.certificates) {
    const key = account.keys.find((candidate) => candidate.id === id)
    if (key === undefined) throw invalid(`names an account key that is not known here: ${id}`)
    checkKey({ ...key, certificate }, account.address)
    people.replaceKeyCertificate(id, certificate)
  }
  if (change.profile === null) return
  checkProfile(change.profile, account)
  // An older profile would bring back keys that were given up.
  if (verifyProfile(change.profile).issuedAt < verifyProfile(account.profile).issuedAt)
    throw invalid("brings a profile older than the published one")
  people.updateAccount(account.address, { profile: change.profile })
}

function liveDevices(people: People, address: string): readonly string[] {
  return people
    .devices(address)
    .filter((device) => device.revokedAt === null)
    .map((device) => device.id)
}

/** All that the server keeps of a login certificate. */
function loginOf(certificate: Uint8Array | null): DeviceLogin | null {
  if (certificate === null) return null
  const read = readCertificate(certificate)
  return { key: publicKeyFingerprint(read), notAfter: read.notAfter }
}

function known(people: People, address: string): Account {
  const account = people.account(address)
  if (account === null) throw new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: unknown`)
  return account
}

function checkKey(key: AccountKey, address: string): void {
  if (key.format === "smime") checkAddress(key.certificate, address)
}

function checkAddress(certificate: Uint8Array, address: string): void {
  const { emailAddresses } = readCertificate(certificate)
  if (!emailAddresses.some((email) => addressKey(parseAddress(email)) === address))
    throw invalid(`has a certificate that is not of ${address}`)
}

function checkProfile(text: string, account: Pick<Account, "address" | "root">): void {
  const profile = verifyProfile(text)
  if (profile.address !== account.address) throw invalid("has a profile of another address")
  sameKey(account.root, profile.root, "profile")
}

function sameKey(a: Uint8Array, b: Uint8Array, what: string): void {
  const [left, right] = [readCertificate(a).subjectPublicKeyInfo, readCertificate(b).subjectPublicKeyInfo]
  if (Buffer.compare(left, right) !== 0) throw invalid(`has a ${what} with another root key`)
}

/** Requests carry an id; what was applied once stays applied, also when it was undone since. */
function recordOnce(database: Database, request: Request, now: Date): void {
  const { changes } = database.sql.run`
    INSERT INTO applied_request (id, account, applied_at) VALUES (${request.id}, ${request.address}, ${now.getTime()}) ON CONFLICT DO NOTHING`
  if (changes === 0) throw invalid("was applied before")
}

function invalid(what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `request: ${what}`)
}
