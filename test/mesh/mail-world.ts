import { readFileSync } from "node:fs"
import { type Certificate, readCertificate } from "../../src/crypto/cms/certificate.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { openingKey } from "../../src/crypto/dare/agreement.ts"
import type { EncryptContent } from "../../src/crypto/dare/seal.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import type { ExpectedMail } from "../../src/mesh/mail/check.ts"
import { ROLE_SEND_MAIL } from "../../src/mesh/mail/check.ts"
import { type OutgoingMail, sealMail } from "../../src/mesh/mail/seal.ts"
import type { MailEntity } from "../../src/mesh/mail/sealing.ts"
import { serviceKeys } from "../../src/mesh/profile-make.ts"
import { inPieces } from "../harness/pieces.ts"
import { account, CREATED, connectedDevice, service } from "./people.ts"

/** The S/MIME certificates and keys of the recipient and his device. */
const { cases } = JSON.parse(
  readFileSync(new URL("../vectors/mesh/one-ciphertext-two-envelopes.json", import.meta.url), "utf8"),
)
const [{ cms, devices }] = cases
const certificateOf = (pem: string): Certificate =>
  readCertificate(pemDecode("CERTIFICATE", pem)[0] ?? new Uint8Array())
const octets = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"))

export const NOW = new Date("2026-11-26T12:00:00Z")
export const alice = account("alice@one.example", 1)
export const bob = account("bob@two.example", 2)
export const mallory = account("mallory@one.example", 3)
export const serviceOne = service(30)
export const otherService = service(40)
export const gateway = connectedDevice(alice, 50, [ROLE_SEND_MAIL])

export const bobCertificate = certificateOf(cms.accountCertificate)
export const bobsDevice = {
  certificate: certificateOf(devices[0].certificate),
  pem: devices[0].certificate as string,
  scalar: octets(devices[0].scalar),
  recryptionKey: octets(devices[0].recryptionKey),
}
export const bobAccount = { identity: bobCertificate.identity, scalar: octets(cms.accountScalar) }

/** What opens mail to Bob. */
export const bobsKey = openingKey(bob.profile.keys.encryption.udf, bob.keys.encryption)

export const serviceSigner = (of: ReturnType<typeof service>) => signerWith(serviceKeys(of.seed).signature)

export const outgoing: OutgoingMail = {
  sender: alice.profile,
  device: { signer: signerWith(gateway.keys.signature), connection: gateway.connection },
  service: { profile: serviceOne.profile, signer: serviceSigner(serviceOne), domain: "mesh.one.example" },
  recipient: { profile: bob.profile, certificate: cmsRecipient(bobCertificate) },
  date: CREATED,
  shown: null,
  seed: new Uint8Array(32).fill(77),
}

export const expected: ExpectedMail = {
  sender: alice.profile,
  service: serviceOne.profile,
  recipient: bob.profile,
  now: NOW,
  digestUnder: () => null,
}

/** Bob, where he reads with OpenPGP alone. */
export const bobsOpenPgp = await makeAccountKey({ name: "", address: "bob@two.example", createdAt: CREATED })
export const openPgpRecipient = { profile: bob.profile, certificate: null, openPgp: bobsOpenPgp.encryption }

/** A mail of Alice's, its text as long as wanted. */
export function entity(text = "Hello Bob.\r\n", from = "Alice <alice@one.example>"): Uint8Array {
  const header = [
    `From: ${from}`,
    "To: Bob <bob@two.example>",
    "Subject: the quick canary",
    "Date: Thu, 26 Nov 2026 10:00:00 +0000",
    "Message-ID: <1@one.example>",
    "MIME-Version: 1.0",
    "Content-Type: text/plain",
  ]
  return Buffer.from(`${header.join("\r\n")}\r\n\r\n${text}`)
}

/** A mail as it is given to be sealed. */
export function entityOf(mail: Uint8Array, size: number): MailEntity {
  return { sizeOctets: mail.length, content: () => inPieces(mail, size) }
}

export interface Sealed {
  readonly message: Uint8Array
  /** What was published, and under which name. */
  readonly published: { readonly name: string; readonly envelope: Uint8Array } | null
}

/** Seals the mail, and keeps what is published. */
export async function sealed(
  mail: Uint8Array,
  options: Partial<OutgoingMail> = {},
  size = 1000,
  encrypt: EncryptContent | null = null,
): Promise<Sealed> {
  let published: Sealed["published"] = null
  const publish = async (name: string, envelope: AsyncIterable<Uint8Array>) => {
    // A piece is good until the next is asked for.
    const pieces: Buffer[] = []
    for await (const piece of envelope) pieces.push(Buffer.from(piece))
    published = { name, envelope: Buffer.concat(pieces) }
  }
  const message = await sealMail(entityOf(mail, size), { ...outgoing, ...options }, publish, encrypt)
  return { message, published }
}
