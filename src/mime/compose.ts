import { fieldText, findField, parseFields } from "./header.ts"

/** Whether the subject of an encrypted message stands outside in clear, or as RFC 9788 §3.2.1 writes a hidden one. */
export type SubjectPolicy = "clear" | "hidden"

/** Name of the field that says who encrypted; forged ones are removed at the border. */
export const MARKER_FIELD = "postern-encrypted"

/** Fields of the outer header that belong to the octets inside only: MIME's own (RFC 2045 §3) and the signature over them. */
const INNER_ONLY = /^(?:mime-version|content-.*|dkim-signature|postern-encrypted)$/

/**
 * The fields of an arriving message that stand outside its encryption, octet for octet, in order.
 * Copying ends at the first line that is no field: what follows may be body text whose sender forgot the empty line, and
 * that must not stay in clear. A leading mbox `From ` line is passed over.
 */
export function outerFields(header: Uint8Array, subject: SubjectPolicy): Uint8Array[] {
  const kept: Uint8Array[] = []
  for (const [index, field] of parseFields(header).entries()) {
    if (field.name === "") {
      if (index === 0 && startsWith(field.octets, "From ")) continue
      break
    }
    if (INNER_ONLY.test(field.name)) continue
    kept.push(field.name === "subject" && subject === "hidden" ? ascii("Subject: [...]\r\n") : endLine(field.octets))
  }
  return kept
}

/** The header section without forged marker fields; everything else octet for octet, the empty line included. */
export function withoutMarker(header: Uint8Array): Uint8Array[] {
  const fields = parseFields(header)
  if (!fields.some((field) => field.name === MARKER_FIELD)) return [header]
  const rest = header.subarray(fields.reduce((sum, field) => sum + field.octets.length, 0))
  return [...fields.filter((field) => field.name !== MARKER_FIELD).map((field) => field.octets), rest]
}

/** The value of the first marker field of a stored message, or null. */
export function markerOf(header: Uint8Array): string | null {
  const field = findField(header, MARKER_FIELD)
  return field ? fieldText(field) : null
}

/** MIME fields and empty line of an S/MIME encrypted message (RFC 8551 §3.3). */
export function smimeFields(authenticated: boolean): Uint8Array {
  return ascii(
    "MIME-Version: 1.0\r\n" +
      `Content-Type: application/pkcs7-mime; smime-type=${authenticated ? "authEnveloped-data" : "enveloped-data"};\r\n` +
      ' name="smime.p7m"\r\n' +
      "Content-Transfer-Encoding: base64\r\n" +
      'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n',
  )
}

/** What stands before and behind the armor of a PGP/MIME message (RFC 3156 §4), MIME fields included. */
export function pgpMimeFrame(boundary: string): {
  readonly fields: Uint8Array
  readonly before: Uint8Array
  readonly after: Uint8Array
} {
  return {
    fields: ascii(
      "MIME-Version: 1.0\r\n" +
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\r\n' +
        ` boundary="${boundary}"\r\n\r\n`,
    ),
    before: ascii(
      `--${boundary}\r\nContent-Type: application/pgp-encrypted\r\nContent-Description: PGP/MIME version identification\r\n\r\n` +
        `Version: 1\r\n\r\n--${boundary}\r\nContent-Type: application/octet-stream; name="encrypted.asc"\r\n` +
        'Content-Description: OpenPGP encrypted message\r\nContent-Disposition: inline; filename="encrypted.asc"\r\n\r\n',
    ),
    after: ascii(`\r\n--${boundary}--\r\n`),
  }
}

/** What kind of signature stands behind the signed part (RFC 8551 §3.5.3, RFC 3156 §5). */
export type SignatureKind = "smime" | "openpgp"

/** What stands before and behind the signed part of a multipart/signed (RFC 1847 §2.1), MIME fields included; `signature` in its transfer form. */
export function signedParts(
  kind: SignatureKind,
  boundary: string,
): { readonly fields: Uint8Array; readonly before: Uint8Array; after(signature: Uint8Array): Uint8Array } {
  const { protocol, micalg, part } = SIGNATURES[kind]
  return {
    fields: ascii(
      `MIME-Version: 1.0\r\nContent-Type: multipart/signed; micalg="${micalg}";\r\n` +
        ` protocol="${protocol}";\r\n boundary="${boundary}"\r\n\r\n`,
    ),
    before: ascii(`--${boundary}\r\n`),
    after: (signature) =>
      Buffer.concat([ascii(`\r\n--${boundary}\r\n${part}\r\n`), signature, ascii(`\r\n--${boundary}--\r\n`)]),
  }
}

/** MIME fields and empty line of a message that is signed with its content inside (RFC 8551 §3.5.2). */
export function opaqueFields(): Uint8Array {
  return ascii(
    "MIME-Version: 1.0\r\n" +
      'Content-Type: application/pkcs7-mime; smime-type=signed-data;\r\n name="smime.p7m"\r\n' +
      'Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="smime.p7m"\r\n\r\n',
  )
}

/** Text that is ASCII by construction, as octets. */
export function ascii(text: string): Uint8Array {
  return Buffer.from(text, "latin1")
}

/** A last field without line end would swallow the field that follows it. */
function endLine(octets: Uint8Array): Uint8Array {
  return octets[octets.length - 1] === 10 ? octets : Buffer.concat([octets, ascii("\r\n")])
}

function startsWith(octets: Uint8Array, text: string): boolean {
  return Buffer.from(octets.subarray(0, text.length)).toString("latin1") === text
}

const SIGNATURES = {
  smime: {
    protocol: "application/pkcs7-signature",
    micalg: "sha-256",
    part:
      'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\nContent-Transfer-Encoding: base64\r\n' +
      'Content-Disposition: attachment; filename="smime.p7s"\r\n',
  },
  openpgp: {
    protocol: "application/pgp-signature",
    micalg: "pgp-sha256",
    part:
      'Content-Type: application/pgp-signature; name="signature.asc"\r\nContent-Description: OpenPGP digital signature\r\n' +
      'Content-Disposition: attachment; filename="signature.asc"\r\n',
  },
} as const
