/** What stands in a PEM label (RFC 7468). */
export type PemLabel = "CERTIFICATE" | "X509 CRL" | "PRIVATE KEY" | "CMS" | "PKCS12"

/** RFC 7468: 64 characters a line, LF line ends. */
export function pemEncode(label: PemLabel, der: Uint8Array): string {
  const text = Buffer.from(der).toString("base64")
  return `-----BEGIN ${label}-----\n${text.replace(/.{1,64}/g, "$&\n")}-----END ${label}-----\n`
}

/** Every block with this label, in order; text around them is passed over. @returns [] when there is none */
export function pemDecode(label: PemLabel, text: string): Uint8Array[] {
  const pattern = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g")
  return [...text.matchAll(pattern)].map((found) => new Uint8Array(Buffer.from(found[1] ?? "", "base64")))
}
