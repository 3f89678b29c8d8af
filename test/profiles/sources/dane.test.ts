import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { pemDecode } from "../../../src/crypto/cms/pem.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { dnsClient } from "../../../src/net/dns-client.ts"
import { type DaneType, daneName } from "../../../src/profiles/dane-records.ts"
import type { KeySource } from "../../../src/profiles/key.ts"
import { daneSources } from "../../../src/profiles/sources/dane.ts"
import { DnsServer } from "../../harness/dns-server.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { startValidatingDns, VALIDATING_DNS, type ValidatingDns } from "../../harness/validating-dns.ts"

const never = new AbortController().signal

function sourcesOf(address: string): { readonly openpgpkey: KeySource; readonly smimea: KeySource } {
  const [openpgpkey, smimea] = daneSources(dnsClient([address], 500))
  if (openpgpkey === undefined || smimea === undefined) throw new Error("two sources were expected")
  return { openpgpkey, smimea }
}

describe.skipIf(![...VALIDATING_DNS, "gpg", "openssl"].every(peer))("Unbound, validating", () => {
  let folder: TemporaryFolder
  let dns: ValidatingDns
  let sources: ReturnType<typeof sourcesOf>
  /** GnuPG's zone lines, and the certificate that they hold. */
  let gnupg: { readonly lines: readonly string[]; readonly certificate: Uint8Array }
  let certificate: Uint8Array

  beforeAll(async () => {
    folder = await temporaryFolder()
    gnupg = await gnupgKey("anna@signed.example")
    certificate = await rsaCertificate("anna@signed.example")
    const records = [
      // Unbound as a server proves the absence of names below an empty one wrongly (NSEC3), so that these are not empty.
      '_openpgpkey TXT "keys"',
      '_smimecert TXT "keys"',
      ...gnupg.lines,
      line("anna", "SMIMEA", Uint8Array.of(3, 0, 0, ...certificate)),
      line("bert", "SMIMEA", Uint8Array.of(3, 0, 1, ...new Uint8Array(32))),
      `${label("alias", "OPENPGPKEY")} CNAME ${label("anna", "OPENPGPKEY")}`,
      `${label("away", "OPENPGPKEY")} CNAME ${label("anna", "OPENPGPKEY")}.unsigned.example.`,
    ]
    dns = await startValidatingDns([
      { name: "signed.example", state: "signed", records },
      { name: "expired.example", state: "expired", records },
      { name: "unsigned.example", state: "unsigned", records },
    ])
    sources = sourcesOf(dns.address)
  })
  afterAll(async () => {
    await run("gpgconf", ["--homedir", folder.path, "--kill", "all"])
    await dns?.[Symbol.asyncDispose]()
    await folder?.[Symbol.asyncDispose]()
  })

  /** As `gpg` prints it for a zone file: name and RDATA are GnuPG's, not ours. */
  async function gnupgKey(address: string): Promise<typeof gnupg> {
    const gpg = (...args: readonly string[]): Promise<Uint8Array> =>
      mustRun("gpg", ["--homedir", folder.path, "--batch", "--quiet", "--passphrase", "", ...args])
    await gpg("--quick-generate-key", address, "default", "default", "never")
    const exported = await gpg("--export-options", "export-dane", "--export", address)
    const text = Buffer.from(exported).toString().replace(/^;.*$/gm, "").replace(/\s+/g, " ")
    const lines = [...text.matchAll(/([0-9a-f]{56}) TYPE61 \\# (\d+) \( ([^)]*) \)/g)].map(
      ([, name, length, hex]) => `${name}._openpgpkey TYPE61 \\# ${length} ${hex?.replaceAll(" ", "")}`,
    )
    const hex = lines[0]?.split(" ").at(-1) ?? ""
    return { lines, certificate: new Uint8Array(Buffer.from(hex, "hex")) }
  }

  /** Too large for UDP. */
  async function rsaCertificate(address: string): Promise<Uint8Array> {
    const key = folder.file("smime.key")
    const names = [address, ...Array.from({ length: 20 }, (_, index) => `anna.also.known.as.${index}@signed.example`)]
    const pem = await mustRun("openssl", [
      ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=Anna", "-days", "2"],
      ...["-addext", `subjectAltName=${names.map((name) => `email:${name}`).join(",")}`],
    ])
    return pemDecode("CERTIFICATE", Buffer.from(pem).toString())[0] ?? new Uint8Array()
  }

  function label(localPart: string, type: DaneType): string {
    return daneName(parseAddress(`${localPart}@signed.example`), type).replace(".signed.example", "")
  }

  /** RFC 3597 §5, which every signer of zones reads. */
  function line(localPart: string, type: DaneType, data: Uint8Array): string {
    const number = { OPENPGPKEY: 61, SMIMEA: 53 }[type]
    return `${label(localPart, type)} TYPE${number} \\# ${data.length} ${Buffer.from(data).toString("hex")}`
  }

  test("the key that GnuPG published, under the name that GnuPG gave it", async () => {
    const answer = await sources.openpgpkey.lookup(parseAddress("anna@signed.example"), never)
    expect(gnupg.certificate.length).toBeGreaterThan(100)
    expect(answer).toEqual({
      candidates: [
        {
          format: "openpgp",
          octets: Buffer.from(gnupg.certificate),
          chain: [],
          source: "openpgpkey",
          trust: "dnssec",
          place: `${label("anna", "OPENPGPKEY")}.signed.example OPENPGPKEY`,
          wish: null,
          lineage: null,
        },
      ],
      remarks: [],
    })
  })

  test("a certificate that needs TCP; the domain vouches for just this one", async () => {
    const answer = await sources.smimea.lookup(parseAddress("anna@signed.example"), never)
    expect(certificate.length).toBeGreaterThan(1_232)
    expect(answer?.remarks).toEqual([])
    expect(answer?.candidates).toMatchObject([{ format: "smime", source: "smimea", trust: "dnssec", chain: [] }])
    expect(answer?.candidates[0]?.octets).toEqual(Buffer.from(certificate))
    expect(answer?.candidates[0]?.anchors).toEqual([Buffer.from(certificate)])
  })

  test("through an alias", async () => {
    const answer = await sources.openpgpkey.lookup(parseAddress("alias@signed.example"), never)
    expect(answer?.candidates).toHaveLength(1)
  })

  const none: [name: string, address: string, source: keyof typeof sources, remark: RegExp | null][] = [
    ["a name that does not exist, as the zone proves", "nobody@signed.example", "openpgpkey", null],
    ["a name without this type, as the zone proves", "bert@signed.example", "openpgpkey", null],
    ["another case is another name", "Anna@signed.example", "openpgpkey", null],
    ["a digest", "bert@signed.example", "smimea", /holds a digest only/],
    ["a key in a zone that is not signed", "anna@unsigned.example", "openpgpkey", /DNSSEC does not vouch/],
    ["an alias that leaves the signed zone", "away@signed.example", "openpgpkey", /DNSSEC does not vouch/],
    ["nothing in a zone that is not signed", "nobody@unsigned.example", "smimea", /is not signed/],
  ]
  for (const [name, address, source, remark] of none)
    test(`none: ${name}`, async () => {
      const answer = await sources[source].lookup(parseAddress(address), never)
      expect(answer?.candidates).toEqual([])
      expect(answer?.remarks).toEqual(remark === null ? [] : [expect.stringMatching(remark)])
    })

  test("no answer: signatures that ended", async () => {
    for (const source of Object.values(sources))
      await expect(source.lookup(parseAddress("anna@expired.example"), never)).rejects.toMatchObject({
        code: "KEY_SOURCE_SILENT",
        message: expect.stringMatching(/SERVFAIL/),
      })
  })
})

test("not asked: an address literal, and a domain that leaves no room", async () => {
  const { openpgpkey } = sourcesOf("127.0.0.1:1")
  const long = `${Array(4).fill("a".repeat(60)).join(".")}`
  for (const address of ["a@[192.0.2.1]", `a@${long.slice(0, 200)}`])
    expect(await openpgpkey.lookup(parseAddress(address), never)).toBeNull()
})

test("no answer: silence, an error, and no time left", async () => {
  const anna = parseAddress("anna@a.example")
  await using server = await DnsServer.start({})
  const { openpgpkey } = sourcesOf(server.address)
  server.zone = { [`${daneName(anna, "OPENPGPKEY")} ?`]: "SERVFAIL" }
  await expect(openpgpkey.lookup(anna, never)).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
  server.zone = { [`${daneName(anna, "OPENPGPKEY")} ?`]: "silence" }
  await expect(openpgpkey.lookup(anna, AbortSignal.timeout(20))).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
  await expect(openpgpkey.lookup(anna, AbortSignal.abort())).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
})
