/** PURE. A configuration profile for Apple's systems: one device's account, keys and roots in one signed file. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { makePkcs12, type Pkcs12Profile } from "../crypto/cms/pkcs12.ts"
import { signCms } from "../crypto/cms/signed.ts"
import type { KeyPair, Person, PersonDevice } from "./person.ts"
import { type PlistValue, plist } from "./plist.ts"
import { urlUuid } from "./uuid.ts"

/** Where the mail program connects, with TLS. */
export interface MailServers {
  readonly imap: { readonly host: string; readonly port: number }
  readonly smtp: { readonly host: string; readonly port: number }
}

/**
 * NAME.mobileconfig for `device`, signed with the device's own signing key. `serverAuthority` is the certificate (DER) that the
 * device must trust for the server's TLS; null: it trusts the server already.
 * It holds the device's passwords and keys in the clear: signing says who made it, and hides nothing.
 */
export function appleProfile(
  person: Person,
  device: PersonDevice,
  servers: MailServers,
  serverAuthority: Uint8Array | null,
): Uint8Array {
  const document = new TextEncoder().encode(plist(configuration(person, device, servers, serverAuthority)))
  return signCms(document, {
    certificate: readCertificate(device.signing.certificate),
    scalar: device.signing.scalar,
    chain: [person.intermediate.certificate],
  })
}

type Dictionary = { readonly [key: string]: PlistValue }

/** The parts of a profile that are told apart by their names. */
type Part = "mail" | "decryption" | "signing" | "root" | "intermediate" | "server-authority"

function configuration(
  person: Person,
  device: PersonDevice,
  servers: MailServers,
  serverAuthority: Uint8Array | null,
): Dictionary {
  const { address, root, intermediate } = person
  const { decryption, signing } = device
  const certificate = (part: Part, type: string, name: string, der: Uint8Array) =>
    payload(person, device, part, type, name, { PayloadContent: der })
  return {
    ...header(
      `${address} (${device.name})`,
      "Configuration",
      urlUuid(profileUrl(person, device)),
      identifier(person, device),
    ),
    PayloadDescription: description(person, device, serverAuthority !== null),
    PayloadOrganization: domainOf(address),
    PayloadRemovalDisallowed: false,
    PayloadScope: "User",
    PayloadContent: [
      ...(serverAuthority === null
        ? []
        : [certificate("server-authority", ROOT, `Server of ${domainOf(address)}`, serverAuthority)]),
      certificate("root", ROOT, `Personal root of ${address}`, root.certificate),
      certificate("intermediate", CERTIFICATE, `Intermediate of ${address}`, intermediate.certificate),
      ...(decryption === null ? [] : [identity(person, device, "decryption", decryption)]),
      identity(person, device, "signing", signing),
      mail(person, device, servers),
    ],
  }
}

/** com.apple.mail.managed. Nothing is signed or encrypted by default; each message has its switch. */
function mail(person: Person, device: PersonDevice, { imap, smtp }: MailServers): Dictionary {
  const { address, name } = person
  const uuid = (part: Part): string => urlUuid(partUrl(person, device, part))
  // Over TLS alone; Apple's systems find out by themselves whether the port wants it at once or after STARTTLS.
  return payload(person, device, "mail", "com.apple.mail.managed", `Mail of ${address}`, {
    EmailAccountDescription: address,
    EmailAccountName: name,
    EmailAccountType: "EmailTypeIMAP",
    EmailAddress: address,
    IncomingMailServerAuthentication: "EmailAuthPassword",
    IncomingMailServerHostName: imap.host,
    IncomingMailServerPortNumber: imap.port,
    IncomingMailServerUseSSL: true,
    IncomingMailServerUsername: address,
    IncomingPassword: device.password,
    OutgoingMailServerAuthentication: "EmailAuthPassword",
    OutgoingMailServerHostName: smtp.host,
    OutgoingMailServerPortNumber: smtp.port,
    OutgoingMailServerUseSSL: true,
    OutgoingMailServerUsername: address,
    OutgoingPassword: device.password,
    // iOS 5 to 9; what follows is for iOS 10 and 12 on. macOS finds the keys by address.
    SMIMEEnabled: true,
    SMIMESigningEnabled: false,
    SMIMESigningUserOverrideable: true,
    SMIMESigningCertificateUUID: uuid("signing"),
    ...(device.decryption === null
      ? {}
      : {
          SMIMEEncryptionEnabled: true,
          SMIMEEncryptByDefault: false,
          SMIMEEncryptByDefaultUserOverrideable: true,
          SMIMEEnableEncryptionPerMessageSwitch: true,
          SMIMEEncryptionCertificateUUID: uuid("decryption"),
        }),
  })
}

/** com.apple.security.pkcs12: one certificate only, so the chain stands in payloads of its own. */
function identity(
  person: Person,
  device: PersonDevice,
  part: "decryption" | "signing",
  { certificate, scalar }: KeyPair,
): Dictionary {
  const name = `${person.address} (${device.name}, ${part})`
  const file = makePkcs12({
    scalar,
    certificate,
    chain: [],
    friendlyName: name.slice(0, 255),
    password: device.pkcs12Password,
    profile: PROFILE_PKCS12,
  })
  return payload(person, device, part, "com.apple.security.pkcs12", name, {
    PayloadContent: file,
    Password: device.pkcs12Password,
  })
}

function payload(
  person: Person,
  device: PersonDevice,
  part: Part,
  type: string,
  displayName: string,
  content: Dictionary,
): Dictionary {
  const uuid = urlUuid(partUrl(person, device, part))
  return { ...header(displayName, type, uuid, `${identifier(person, device)}.${part}`), ...content }
}

function header(displayName: string, type: string, uuid: string, name: string): Dictionary {
  return {
    PayloadDisplayName: displayName,
    PayloadType: type,
    PayloadVersion: 1,
    PayloadUUID: uuid,
    PayloadIdentifier: name,
  }
}

/** The same for every profile of this device's name: installing a new one replaces the old. */
function identifier(person: Person, device: PersonDevice): string {
  const reversed = domainOf(person.address).split(".").reverse().join(".")
  return `${reversed}.postern.${urlUuid(profileUrl(person, device))}`
}

function partUrl(person: Person, device: PersonDevice, part: Part): string {
  return `${profileUrl(person, device)}/${part}`
}

function profileUrl({ address }: Person, { name }: PersonDevice): string {
  return `mailto:${encodeURI(address)}#${encodeURIComponent(name)}`
}

function description(person: Person, device: PersonDevice, withAuthority: boolean): string {
  return [
    `Sets up the mail account ${person.address} on one device, "${device.name}", with the password and the S/MIME keys of this device.`,
    "Do not install it on a second device: each has a profile of its own. To undo it, remove the profile.",
    ...(withAuthority
      ? ["It brings the certificate authority of the mail server: switch its trust on where the system asks for that."]
      : []),
    `The personal root in it can vouch for ${person.address} only.`,
  ].join(" ")
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1)
}

/** The password stands beside it, so it protects nothing; this is the form that every version of the systems reads. */
const PROFILE_PKCS12: Pkcs12Profile = "legacy"
const ROOT = "com.apple.security.root"
const CERTIFICATE = "com.apple.security.pkcs1"
