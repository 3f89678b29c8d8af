import { readFileSync } from "node:fs"
import type { Config } from "../config/config.ts"
import { type Certificate, readCertificate } from "../crypto/cms/certificate.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { type AcmeStatus, acmeStatus, issuedCertificate } from "../store/acme.ts"

/** The server's certificate as the commands show it. Dates are RFC 3339. */
export interface ServerCertificateView {
  readonly file: string
  /** null: the file cannot be read. */
  readonly notAfter: string | null
  /** null: renewing is somebody else's business. */
  readonly acme: AcmeView | null
}

/** What is known of the CA. */
interface AcmeView {
  readonly directory: string
  readonly names: readonly string[]
  /** True when the certificate in the file is the CA's last one. */
  readonly shown: boolean
  /** null: never asked. */
  readonly last: Omit<AcmeStatus, "request"> | null
}

export function serverCertificateView(config: Config): ServerCertificateView {
  const { certificate: file, acme } = config.tls
  const notAfter = serverCertificate(file)?.notAfter.toISOString() ?? null
  if (acme === null) return { file, notAfter, acme: null }
  const { request: _, ...last } = acmeStatus(config) ?? { request: null, at: null }
  const { directory, names } = acme
  return { file, notAfter, acme: { directory, names, shown: isShown(config), last: last.at === null ? null : last } }
}

/** The lines that tell of it; the first is the certificate. */
export function viewLines({ file, notAfter, acme }: ServerCertificateView): readonly string[] {
  const certificate = notAfter === null ? `no certificate can be read in ${file}` : `certificate until ${notAfter}`
  if (acme === null) return [certificate]
  const from = acme.shown ? `${certificate}, of ${acme.directory}` : `${certificate}, not of ${acme.directory}`
  if (acme.last === null) return [from, "the CA was not asked yet"]
  return [from, lastAttempt(acme.last)]
}

/** What the last attempt came to, and when the next one is. */
export function lastAttempt({ at, outcome, reason, nextAt }: Omit<AcmeStatus, "request">): string {
  return outcome === "issued"
    ? `issued ${at}, renewed from ${nextAt}`
    : `failed ${at}: ${reason}; asked again from ${nextAt}`
}

function isShown(config: Config): boolean {
  const issued = issuedCertificate(config)
  const [own] = issued === null ? [] : pemDecode("CERTIFICATE", issued.certificate)
  const shown = serverCertificate(config.tls.certificate)
  return own !== undefined && shown !== null && Buffer.compare(own, shown.der) === 0
}

/** @returns null when the file has no certificate, or is not there */
function serverCertificate(path: string): Certificate | null {
  try {
    const [own] = pemDecode("CERTIFICATE", readFileSync(path, "utf8"))
    return own === undefined ? null : readCertificate(own)
  } catch {
    // "postern check" says why; the rest of what is shown does not hang on it.
    return null
  }
}
