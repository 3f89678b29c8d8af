import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { pemEncode } from "../../../src/crypto/cms/pem.ts"
import { signCms } from "../../../src/crypto/cms/signed.ts"
import { peer, run, temporaryFolder } from "../../harness/peers.ts"
import { makeHolder, makePerson } from "./alice.ts"

const alice = makePerson("alice@example.com", "Alice")
const holder = makeHolder(alice, "sign")
const content = Buffer.from("what is signed\r\n\0and octets")

/** `openssl cms -verify` with the personal root as the only anchor. */
async function verify(signed: Uint8Array): Promise<{ readonly code: number; readonly stdout: string }> {
  await using folder = await temporaryFolder()
  await writeFile(folder.file("root.pem"), pemEncode("CERTIFICATE", alice.root.der))
  await writeFile(folder.file("signed"), signed)
  const files = ["-in", folder.file("signed"), "-CAfile", folder.file("root.pem")]
  const args = ["cms", "-verify", "-inform", "DER", "-binary", "-purpose", "smimesign", ...files]
  const { code, stdout } = await run("openssl", args)
  return { code, stdout: Buffer.from(stdout).toString("latin1") }
}

describe.skipIf(!peer("openssl"))("SignedData", () => {
  const signed = signCms(content, { ...holder, chain: [alice.intermediate.der] })

  test("OpenSSL verifies it up to the root, and gives the content", async () => {
    expect(await verify(signed)).toEqual({ code: 0, stdout: content.toString("latin1") })
    const empty = signCms(new Uint8Array(), { ...holder, chain: [alice.intermediate.der] })
    expect(await verify(empty)).toEqual({ code: 0, stdout: "" })
  })

  test("not when an octet of the content is another, when the intermediate is missing, or the key is another's", async () => {
    const altered = Buffer.from(signed)
    altered[altered.indexOf("what is signed")] = 0x57
    const other = makeHolder(alice, "sign")
    const rows: [name: string, octets: Uint8Array][] = [
      ["altered", altered],
      ["no intermediate", signCms(content, { ...holder, chain: [] })],
      ["another key", signCms(content, { ...holder, scalar: other.scalar, chain: [alice.intermediate.der] })],
    ]
    for (const [name, octets] of rows) expect([name, (await verify(octets)).code]).not.toEqual([name, 0])
  })
})
