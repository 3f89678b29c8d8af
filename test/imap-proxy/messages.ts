import { cmsRecryptor } from "../../src/crypto/recryption/cms.ts"
import { openPgpRecryptor } from "../../src/crypto/recryption/openpgp.ts"
import { RecryptionStream } from "../../src/crypto/recryption/stream.ts"
import { cms, cmsRecryption, OPENPGP_KEY_ID, openpgp, openpgpScalar } from "../crypto/recryption/vectors.ts"

/** Encrypted to the account of the vectors, each in base64. */
const block = cms.messages[0]?.original ?? ""
const smime = lines(block)
const armored = armor(openpgp.original)

const PKCS7 = "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\nContent-Transfer-Encoding: base64\n"

/** Messages as stored, with CRLF; each holds one block for the account but for the clear one. */
export const MESSAGES: Readonly<Record<string, string>> = {
  smime: crlf(`From: a@example.test\nSubject: s/mime\n${PKCS7}\n${smime}\n`),
  // The block lies behind the first 64 KiB that the proxy asks for.
  longHeader: crlf(`From: a@example.test\n${"X-Hop: some host\n".repeat(4500)}${PKCS7}\n${smime}\n`),
  pgp: crlf(
    `From: a@example.test\nContent-Type: multipart/encrypted; boundary=b\n\n--b\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n--b\nContent-Type: application/octet-stream\n\n${armored}\n--b--\n`,
  ),
  list: crlf(
    `From: a@example.test\nContent-Type: multipart/mixed; boundary=b\n\n--b\n${PKCS7}\n${smime}\n--b\nContent-Type: text/plain\n\nfooter of the list\n--b--\n`,
  ),
  clear: crlf(`From: a@example.test\nSubject: clear\n\nnothing to see\n`),
}

/** `text` as the device that holds `recryptors` sees it. */
export function patched(text: string, device: "laptop" | "phone"): string {
  const recryptors = [cmsRecryptor(cmsRecryption(device === "laptop" ? "dev1" : "dev2"))]
  if (device === "laptop") recryptors.push(openPgpRecryptor({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar }))
  const stream = new RecryptionStream(recryptors)
  return Buffer.concat([...stream.push(Buffer.from(text, "latin1")), ...stream.end()]).toString("latin1")
}

export function crlf(text: string): string {
  return text.replaceAll("\n", "\r\n")
}

function lines(base64: string): string {
  return base64.match(/.{1,64}/g)?.join("\n") ?? ""
}

/** RFC 9580 §6: armor with its CRC-24. */
function armor(base64: string): string {
  let crc = 0xb704ce
  for (const octet of Buffer.from(base64, "base64")) {
    crc ^= octet << 16
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x800000 ? ((crc << 1) ^ 0x1864cfb) & 0xffffff : crc << 1
  }
  const check = Buffer.from([crc >> 16, (crc >> 8) & 255, crc & 255]).toString("base64")
  return `-----BEGIN PGP MESSAGE-----\n\n${lines(base64)}\n=${check}\n-----END PGP MESSAGE-----`
}
