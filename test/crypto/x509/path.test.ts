import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { readCrl } from "../../../src/crypto/x509/crl.ts"
import { findPath, type PathPurpose } from "../../../src/crypto/x509/path.ts"

interface Vectors {
  readonly certificates: Readonly<Record<string, string>>
  readonly lists?: Readonly<Record<string, string>>
}

function read(name: string): { readonly certificates: ReadonlyMap<string, Certificate>; readonly lists: Uint8Array[] } {
  const { certificates, lists = {} } = JSON.parse(readFileSync(`test/vectors/x509/${name}.json`, "utf8")) as Vectors
  const octets = (text: string) => new Uint8Array(Buffer.from(text, "base64"))
  return {
    certificates: new Map(Object.entries(certificates).map(([key, text]) => [key, readCertificate(octets(text))])),
    lists: Object.values(lists).map(octets),
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

describe("NIST's Public Key Interoperability Test Suite", () => {
  const { certificates, lists } = read("pkits")
  const all = [...certificates.values()]
  const anchor = certificates.get("TrustAnchorRootCertificate")
  if (!anchor) throw new Error("no trust anchor")
  const at = new Date("2015-01-01T00:00:00Z")

  /** Good, or why not, with the CRLs of every authority in the path. */
  function verdict(end: Certificate): string {
    const between = authoritiesOf(end)
    const found = findPath(end, { anchors: [anchor as Certificate], between, at, purpose: "signature" })
    if (found.kind === "none") return found.because
    for (const [index, certificate] of found.certificates.slice(0, -1).entries()) {
      const issuer = found.certificates[index + 1] as Certificate
      const kinds = lists.map((list) => kindOf(list, certificate, issuer))
      if (kinds.includes("revoked")) return "revoked"
      if (!kinds.includes("good")) return "no list"
    }
    return "good"
  }

  function kindOf(list: Uint8Array, certificate: Certificate, issuer: Certificate): string {
    try {
      return readCrl(list, { certificate, issuer, at }).kind
    } catch {
      // A list with negative or oversized numbers, or octets behind its end: the suite has both.
      return "unreadable"
    }
  }

  /** Who may stand above it, by their names. */
  function authoritiesOf(end: Certificate): Certificate[] {
    const above: Certificate[] = []
    for (let names = [end.identity.issuer]; names.length > 0; ) {
      const next = all.filter(({ subject }) => names.some((name) => isSame(name, subject)))
      const fresh = next.filter((certificate) => !above.includes(certificate))
      above.push(...fresh)
      names = fresh.map(({ identity }) => identity.issuer)
    }
    return above
  }

  /** Names are compared octet for octet, as RFC 5280 §4.1.2.6 has authorities write them; DNS names and URIs are not for e-mail. */
  const STRICTER = /NameChaining(Whitespace|Capitalization)|Rolloverfrom|CaseInsensitive|(DNS|URI)nameConstraints/
  /** Lists by another key than the certificate's, by somebody else, in several parts, or under a directory name: nobody has answered then. */
  const NO_LIST =
    /SelfIssued|SeparateCertificateandCRLKeys|indirectCRL|cRLIssuer|distributionPoint|onlySomeReasons|DNnameConstraintsTest19|deltaCRLTest5/
  /** Changes to a list are not read. */
  const DELTA = /InvaliddeltaCRLTest4EE/
  const ends = [...certificates].filter(([name]) => name.endsWith("EE"))

  test("nothing that is invalid is good", () => {
    const invalid = ends.filter(([name]) => name.startsWith("Invalid") && !DELTA.test(name))
    expect(invalid.length).toBeGreaterThan(80)
    expect(invalid.filter(([, end]) => verdict(end) === "good").map(([name]) => name)).toEqual([])
  })

  test("what is valid is good, but for what is said to be refused", () => {
    const valid = ends.filter(([name]) => name.startsWith("Valid"))
    const good = valid.filter(([name]) => !STRICTER.test(name) && !NO_LIST.test(name))
    expect(good.length).toBeGreaterThan(25)
    expect(good.map(([name, end]) => [name, verdict(end)]).filter(([, line]) => line !== "good")).toEqual([])
  })
})

describe("the certificates of RFC 9216", () => {
  const { certificates } = read("rfc9216")
  const at = new Date("2026-11-26T00:00:00Z")
  const of = (name: string): Certificate => {
    const found = certificates.get(name)
    if (!found) throw new Error(`no ${name}`)
    return found
  }
  const [rsa, ed25519] = ["RSA", "Ed25519"].map(
    (kind) => (form: string) => of(`Sample_LAMPS_${kind}_Certification_Authority.${form}`),
  )

  const rows: [name: string, purpose: PathPurpose, authority: typeof rsa][] = [
    ["alice@smime.example.enc", "encryption", rsa],
    ["alice@smime.example.sig", "signature", rsa],
    ["bob@smime.example.enc", "encryption", rsa],
    ["carlos@smime.example.enc", "encryption", ed25519],
    ["carlos@smime.example.sig", "signature", ed25519],
    ["dana@smime.example.enc", "encryption", ed25519],
  ]
  test.for(rows)("%s for %s", ([name, purpose, authority]) => {
    const other = authority === rsa ? ed25519 : rsa
    const path = (anchor: Certificate | undefined, ...between: (Certificate | undefined)[]) =>
      findPath(of(name), {
        anchors: anchor ? [anchor] : [],
        between: between.filter((one) => one !== undefined),
        at,
        purpose,
      })
    expect(path(authority?.("selfsigned")).kind).toBe("path")
    expect(path(other?.("selfsigned"), authority?.("crosssigned"))).toMatchObject({ certificates: { length: 3 } })
    expect(path(other?.("selfsigned")).kind).toBe("none")
  })

  test("a certificate for signatures is none for encryption, nor the other way round", () => {
    for (const [name, purpose] of [
      ["carlos@smime.example.sig", "encryption"],
      ["carlos@smime.example.enc", "signature"],
    ] as const)
      expect(
        findPath(of(name), {
          anchors: [of("Sample_LAMPS_Ed25519_Certification_Authority.selfsigned")],
          between: [],
          at,
          purpose,
        }),
      ).toMatchObject({
        kind: "none",
        because: `its key usage allows no ${purpose} with such a key`,
      })
  })
})
