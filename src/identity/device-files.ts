/** PURE. The files a device is set up with. */
import { pemEncode } from "../crypto/cms/pem.ts"
import { makePkcs12, type Pkcs12Profile } from "../crypto/cms/pkcs12.ts"
import { appleProfile } from "./apple-profile.ts"
import { deviceKeyFile } from "./openpgp-keys.ts"
import type { KeyPair, Person, PersonDevice } from "./person.ts"

/** The password is 142 random bits: there is nothing to guess, so a second of work for each import buys nothing. */
const PKCS12_ITERATIONS = 10_000

/** Where a client connects. */
export interface ServiceAddress {
  readonly host: string
  readonly port: number
  readonly security: "tls" | "starttls"
}

/** The services as devices reach them. */
export interface Services {
  readonly imap: ServiceAddress
  readonly smtp: ServiceAddress
  /** Reading with NAME-login.p12; null: not served. */
  readonly imapClient: ServiceAddress | null
}

/** Which of the forms that clients differ in are wanted. */
export interface FileForms {
  readonly pkcs12: Pkcs12Profile
  /** NAME-login.p12 as well, for TLS client authentication. */
  readonly login: boolean
  /** NAME.mobileconfig as well, with the authority of the server's certificate (DER) where devices must be told to trust it. */
  readonly mobileconfig: { readonly serverAuthority: Uint8Array | null } | null
}

/** One file: name, and content. */
export interface DeviceFile {
  readonly name: string
  readonly content: Uint8Array
}

/** NAME.json and the files that it names, for `device`. */
export function deviceFiles(
  person: Person,
  device: PersonDevice,
  services: Services,
  { pkcs12: form, login: withLogin, mobileconfig }: FileForms,
): readonly DeviceFile[] {
  const { name, openpgp, decryption } = device
  const login = withLogin ? device.login : null
  const opener: DeviceFile[] = decryption === null ? [] : [pkcs12(person, device, decryption, name, form)]
  const armored = openPgpFile(person, device)
  const settings = {
    address: person.address,
    device: name,
    username: person.address,
    password: device.password,
    imap: services.imap,
    smtp: services.smtp,
    ...(login === null || services.imapClient === null ? {} : { imapClient: services.imapClient }),
    files: {
      ...(decryption === null ? {} : { pkcs12: `${name}.p12` }),
      signing: `${name}-sign.p12`,
      ...(login === null ? {} : { login: `${name}-login.p12` }),
      ...(armored.length === 0 ? {} : { openpgp: `${name}.asc` }),
      ...(mobileconfig === null ? {} : { mobileconfig: `${name}.mobileconfig` }),
      root: "root.pem",
    },
    pkcs12Password: device.pkcs12Password,
    ...(openpgp === null || openpgp.password === null ? {} : { openpgpPassword: openpgp.password }),
  }
  return [
    { name: `${name}.json`, content: text(`${JSON.stringify(settings, null, 2)}\n`) },
    ...opener,
    pkcs12(person, device, device.signing, `${name}-sign`, form),
    ...(login === null ? [] : [loginFile(person, device, login, form)]),
    ...armored,
    ...(mobileconfig === null ? [] : [appleFile(person, device, services, mobileconfig.serverAuthority)]),
    { name: "root.pem", content: text(pemEncode("CERTIFICATE", person.root.certificate)) },
  ]
}

/** NAME.asc; none for a device without OpenPGP. */
export function openPgpFile(person: Person, { name, openpgp }: PersonDevice): readonly DeviceFile[] {
  if (person.openpgp === null || openpgp === null) return []
  return [{ name: `${name}.asc`, content: deviceKeyFile(person.openpgp, openpgp) }]
}

/** Issued by the root itself: the intermediate is for e-mail only. */
function loginFile(
  person: Person,
  { name, pkcs12Password }: PersonDevice,
  { certificate, scalar }: KeyPair,
  profile: Pkcs12Profile,
): DeviceFile {
  const content = makePkcs12({
    scalar,
    certificate,
    chain: [person.root.certificate],
    friendlyName: `${name} (${person.address})`.slice(0, 255),
    password: pkcs12Password,
    profile,
    iterations: PKCS12_ITERATIONS,
  })
  return { name: `${name}-login.p12`, content }
}

function pkcs12(
  person: Person,
  device: PersonDevice,
  { certificate, scalar }: KeyPair,
  file: string,
  profile: Pkcs12Profile,
): DeviceFile {
  const purpose = file === device.name ? device.name : `${device.name}, signing`
  const content = makePkcs12({
    scalar,
    certificate,
    chain: [person.intermediate.certificate, person.root.certificate],
    friendlyName: `${person.name} (${purpose})`.slice(0, 255),
    password: device.pkcs12Password,
    profile,
    iterations: PKCS12_ITERATIONS,
  })
  return { name: `${file}.p12`, content }
}

function appleFile(...about: Parameters<typeof appleProfile>): DeviceFile {
  return { name: `${about[1].name}.mobileconfig`, content: appleProfile(...about) }
}

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content)
}
