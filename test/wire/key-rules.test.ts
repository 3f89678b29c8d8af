import { readFile, writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Config } from "../../src/config/config.ts"
import type { AskWeb } from "../../src/net/web.ts"
import { keyRulesOf } from "../../src/wire/key-rules.ts"
import { AUTHORITY, forMail, type Made, make } from "../harness/authority.ts"
import { mustRun, peer, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { candidate, judged, told } from "../profiles/judging.ts"

const BOB = "bob@example.test"
let folder: TemporaryFolder
let root: Made
let end: Made

beforeAll(async () => {
  folder = await temporaryFolder()
  if (!peer("openssl")) return
  root = await make(folder, { name: "root", extensions: AUTHORITY })
  const places = ["crlDistributionPoints=URI:http://crl.test/"]
  end = await make(folder, {
    name: "end",
    by: root,
    extensions: [...forMail(BOB), ...places],
    more: ["-set_serial", "4098"],
  })
})
afterAll(() => folder[Symbol.asyncDispose]())

const away: AskWeb = () => Promise.reject(new Error("nobody there"))

async function verdict(keys: Partial<Config["keys"]>): Promise<string> {
  const all = { roots: [root.certificateFile], revocation: "off", revocationLists: [], plusTags: false, ...keys }
  const at = new Date(Date.now() + 60_000)
  const rulesAt = keyRulesOf({ keys: all as unknown as Config["keys"] }, away, () => at)
  return told(await judged(candidate("smime", end.der), BOB, rulesAt(at)))
}

describe.skipIf(!peer("openssl"))("the rules of [keys]", () => {
  test("roots: a certificate is good under those that are named, and under no others", async () => {
    expect(await verdict({})).toBe("usable: Issued under “root”.")
    expect(await verdict({ roots: [] })).toBe("rejected: “root”, which issued it, is not known.")
  })

  test("roots that are none stop the start, naming the file", async () => {
    await writeFile(folder.file("none.pem"), "nothing")
    await expect(verdict({ roots: [folder.file("none.pem")] })).rejects.toMatchObject({ code: "CONFIG_INVALID" })
    await expect(verdict({ roots: [folder.file("missing.pem")] })).rejects.toThrow("missing.pem")
  })

  test("revocation: soft goes on without an answer, hard waits", async () => {
    const why = "hether it is revoked could not be learned (crl.test: nobody there)."
    expect(await verdict({ revocation: "soft" })).toBe(`usable: Issued under “root”; w${why}`)
    expect(await verdict({ revocation: "hard" })).toBe(`undecided: W${why}`)
  })

  test("lists in files, PEM or DER, are read when they are needed", async () => {
    const file = folder.file("list")
    const rule = { revocation: "hard", revocationLists: [file] } as const
    expect(await verdict(rule)).toMatch(/^undecided/)
    await writeFile(folder.file("index"), "R\t360101000000Z\t260201000000Z\t1002\tunknown\t/CN=end\n")
    await writeFile(
      folder.file("ca.cnf"),
      `[ca]\ndefault_ca = one\n[one]\ndatabase = ${folder.file("index")}\ndefault_md = sha256\n`,
    )
    const by = ["-cert", root.certificateFile, "-keyfile", root.keyFile]
    await mustRun("openssl", ["ca", "-config", folder.file("ca.cnf"), "-gencrl", "-crldays", "7", ...by, "-out", file])
    expect(await verdict(rule)).toBe("rejected: It was revoked on 2026-02-01.")
    await mustRun("openssl", ["crl", "-in", file, "-outform", "DER", "-out", folder.file("list.der")])
    await writeFile(file, await readFile(folder.file("list.der")))
    expect(await verdict(rule)).toBe("rejected: It was revoked on 2026-02-01.")
  })
})
