/** PURE. The private authority of an instance, and its server's certificate. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { issueServer, issueServerAuthority } from "../crypto/cms/issue.ts"
import { pemEncode } from "../crypto/cms/pem.ts"
import { p256Pkcs8, p256PublicPoint } from "../crypto/primitives/p256.ts"
import { leafValidity, makeScalar, makeSerial, type Random, rootValidity } from "./issuing.ts"

/** What TLS of an instance consists of, PEM. */
export interface ServerTls {
  readonly authority: string
  /** Signs the next server certificate, in two years. */
  readonly authorityKey: string
  /** Server certificate, then the authority's. */
  readonly certificate: string
  readonly key: string
}

/** A new authority constrained to `domains` and this machine, and a server certificate of it. */
export function makeServerTls(
  domains: readonly string[],
  { now, random }: { readonly now: Date; readonly random: Random },
): ServerTls {
  const [authorityScalar, scalar] = [makeScalar(random), makeScalar(random)]
  const authority = issueServerAuthority({
    name: `Postern of ${domains[0] ?? "localhost"}`,
    domains,
    scalar: authorityScalar,
    serial: makeSerial(random),
    ...rootValidity(now),
  })
  const issuer = { certificate: readCertificate(authority), scalar: authorityScalar }
  const certificate = issueServer({
    authority: issuer,
    names: [...domains, ...domains.flatMap(setUpNames), "localhost"],
    addresses: ["127.0.0.1", "::1"],
    point: p256PublicPoint(scalar),
    serial: makeSerial(random),
    ...leafValidity(now, issuer.certificate.notAfter),
  })
  return {
    authority: pemEncode("CERTIFICATE", authority),
    authorityKey: pemEncode("PRIVATE KEY", p256Pkcs8(authorityScalar)),
    certificate: pemEncode("CERTIFICATE", certificate) + pemEncode("CERTIFICATE", authority),
    key: pemEncode("PRIVATE KEY", p256Pkcs8(scalar)),
  }
}

/** Where mail clients look for their settings. */
function setUpNames(domain: string): readonly string[] {
  return [`autoconfig.${domain}`, `autodiscover.${domain}`]
}
