import { GatewayError } from "../errors.ts"
import type { DeviceOpenPgp, OpenPgpIdentity, Person, PersonDevice } from "./person.ts"
import type { ScalarChange } from "./requests.ts"

const no = (): never => {
  throw new GatewayError("OPENPGP_UNSUPPORTED", "openpgp: not built yet")
}

export async function makeOpenPgpIdentity(_person: Person, _now: Date): Promise<OpenPgpIdentity> {
  return no()
}
export async function addEncryptionKey(
  _person: Person,
  _identity: OpenPgpIdentity,
  _now: Date,
): Promise<{ identity: OpenPgpIdentity; devices: readonly PersonDevice[]; scalars: readonly ScalarChange[] }> {
  return no()
}
export function openPgpProfileKey(_identity: OpenPgpIdentity): string {
  return no()
}
export async function addDeviceKeys(
  _person: Person,
  _identity: OpenPgpIdentity,
  _device: string,
  _password: string | null,
  _now: Date,
): Promise<{ identity: OpenPgpIdentity; openpgp: DeviceOpenPgp; scalars: readonly ScalarChange[] }> {
  return no()
}
export async function revokeDeviceKey(
  _identity: OpenPgpIdentity,
  _device: DeviceOpenPgp,
  _now: Date,
): Promise<OpenPgpIdentity> {
  return no()
}
export function deviceKeyFile(_identity: OpenPgpIdentity, _device: DeviceOpenPgp): string {
  return no()
}
export const armor = (_octets: Uint8Array, _label: string): string => no()
export const readOpenPgpCertificate = async (
  _octets: Uint8Array | string,
): Promise<{ encryption: object | null; userIds: string[]; binary: Uint8Array }> => no()
