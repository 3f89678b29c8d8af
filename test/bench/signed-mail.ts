import { generateKeyPairSync } from "node:crypto"
import { dkimSign } from "mailauth/lib/dkim/sign.js"
import type { Zone } from "../harness/zone.ts"

/** A message of sender@bench.test, signed, of some `octets`; lines end in LF, as smtp-source wants a file. `zone`: what DNS says of its domain. */
export async function signedMail(octets: number): Promise<{ readonly text: string; readonly zone: Zone }> {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 })
  const line = "The quick brown fox jumps over the lazy dog and goes on to the end of this line.\r\n"
  const header =
    "From: Sender <sender@bench.test>\r\nTo: alice@example.test\r\nSubject: a signed message\r\n" +
    "Date: Thu, 26 Nov 2026 12:00:00 +0000\r\nMessage-ID: <signed@bench.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
  const message = header + line.repeat(Math.ceil((octets - header.length) / line.length))
  const one = {
    canonicalization: "relaxed/relaxed",
    signingDomain: "bench.test",
    selector: "s",
    algorithm: "rsa-sha256",
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    headerList: ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"],
  }
  const { signatures } = await dkimSign(Buffer.from(message), { ...one, signatureData: [one] })
  const record = `v=DKIM1; k=rsa; p=${publicKey.export({ type: "spki", format: "der" }).toString("base64")}`
  return {
    text: (signatures + message).replaceAll("\r\n", "\n"),
    zone: {
      "bench.test TXT": ["v=spf1 ip4:127.0.0.1 -all"],
      "s._domainkey.bench.test TXT": [[record.slice(0, 255), record.slice(255)]],
      "_dmarc.bench.test TXT": ["v=DMARC1; p=reject"],
    },
  }
}
