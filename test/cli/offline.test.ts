import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { makeInstance, mustPostern, postern } from "./postern.ts"

test("an instance whose server never sees a keyring", async () => {
  using instance = await makeInstance()
  const desk = mkdtempSync(join(tmpdir(), "postern-desk-"))
  const at = (name: string) => join(desk, name)
  writeFileSync(at("passphrase"), "correct horse battery staple\n")
  const offline = (file: string, ...args: string[]) =>
    postern(
      [...args, "--offline", at(file), "--keyring", at("keyring"), "--passphrase-file", at("passphrase")],
      {},
      desk,
    )
  const accept = (file: string, ...more: string[]) => postern(["accept", at(file), ...more, ...instance.config])
  try {
    // Made where there is no instance at all, sealed, and without a word on stderr.
    const made = await offline("account.req", "account", "add", "alice@example.test", "--json")
    expect([made.code, made.stderr]).toEqual([0, ""])
    const { fingerprint } = JSON.parse(Buffer.from(made.stdout).toString())
    expect(
      (await offline("device.req", "device", "add", "alice@example.test", "laptop", "--out", at("laptop"))).code,
    ).toBe(0)
    expect(statSync(at("device.req")).mode & 0o777).toBe(0o600)
    expect(JSON.parse(readFileSync(at("laptop/laptop.json"), "utf8"))).toMatchObject({
      imap: { host: "example.test", port: 993, security: "tls" },
    })

    expect((await accept("device.req")).stderr).toMatch(/account alice@example.test: unknown/)
    const wrong = await accept("account.req", "--fingerprint", "MAAA-AAAA")
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining(`is signed by ${fingerprint}`)])
    const accepted = await accept("account.req", "--fingerprint", fingerprint, "--json")
    expect(JSON.parse(Buffer.from(accepted.stdout).toString())).toMatchObject({
      kind: "account-add",
      address: "alice@example.test",
      fingerprint,
    })
    expect((await accept("device.req")).code).toBe(0)
    const again = await accept("device.req")
    expect([again.code, again.stderr]).toEqual([1, "postern: request: was applied before\n"])

    const document = JSON.parse(readFileSync(at("device.req"), "utf8"))
    writeFileSync(at("bent.req"), JSON.stringify({ ...document, signature: `${document.signature.slice(0, -2)}AA` }))
    expect((await accept("bent.req")).code).toBe(1)

    // The account was made where no gateway of the Mesh was known.
    const meshOf = async () =>
      JSON.parse(await mustPostern(["account", "show", "alice@example.test", "--json", ...instance.config])).mesh
    expect(await meshOf()).toBeNull()
    await mustPostern(["account", "gateway", at("gateway.json"), ...instance.config])
    const connected = await offline(
      "mesh.req",
      "account",
      "mesh",
      "alice@example.test",
      "--gateway",
      at("gateway.json"),
      "--json",
    )
    const { mesh } = JSON.parse(Buffer.from(connected.stdout).toString())
    expect((await accept("mesh.req")).code).toBe(0)
    expect(await meshOf()).toMatchObject({ udf: mesh, connectedUntil: expect.any(String) })

    // The server makes a key that signs for Alice; only the desk can certify it, and it does so for nobody else.
    await mustPostern(["gateway-key", "add", "alice@example.test", "--request", at("key.json"), ...instance.config])
    const listed = async () => JSON.parse(await mustPostern(["gateway-key", "list", "--json", ...instance.config]))
    expect(await listed()).toMatchObject([{ state: "pending", notAfter: null }])
    const wanted = JSON.parse(readFileSync(at("key.json"), "utf8"))
    writeFileSync(at("other.json"), JSON.stringify({ ...wanted, address: "bob@example.test" }))
    expect((await offline("no.req", "gateway-key", "certify", at("other.json"))).stderr).toMatch(
      /gateway key: is not of whoever wrote this file/,
    )
    const certified = await offline("key.req", "gateway-key", "certify", at("key.json"), "--json")
    expect(JSON.parse(Buffer.from(certified.stdout).toString())).toMatchObject({
      fingerprint: (await listed())[0].fingerprint,
    })
    expect((await accept("key.req")).code).toBe(0)
    const [key] = await listed()
    expect(key).toMatchObject({ account: "alice@example.test", state: "active" })
    expect((await offline("gone.req", "gateway-key", "remove", "alice@example.test", key.id)).code).toBe(0)
    expect((await accept("gone.req")).code).toBe(0)
    expect(await listed()).toEqual([])

    expect((await offline("revoke.req", "device", "revoke", "alice@example.test", "laptop")).code).toBe(0)
    expect((await accept("revoke.req")).code).toBe(0)
    const devices = JSON.parse(
      await mustPostern(["device", "list", "alice@example.test", "--json", ...instance.config]),
    )
    expect(devices).toMatchObject([{ name: "laptop", revokedAt: expect.any(String) }])
    expect(existsSync(instance.file("keyring/alice@example.test.json"))).toBe(false)
  } finally {
    rmSync(desk, { recursive: true })
  }
})

test("a sealed keyring opens with its passphrase only, from the option or the environment", async () => {
  using instance = await makeInstance()
  const passphrase = instance.file("passphrase")
  const wrong = instance.file("wrong")
  writeFileSync(passphrase, "secret words\n")
  writeFileSync(wrong, "other words\n")
  const add = (name: string, more: string[], env: Record<string, string> = {}) =>
    postern(
      ["device", "add", "alice@example.test", name, "--out", instance.file("out"), ...more, ...instance.config],
      env,
    )
  await mustPostern(["account", "add", "alice@example.test", "--passphrase-file", passphrase, ...instance.config])
  const rows: [name: string, more: string[], env: Record<string, string>, code: number, stderr: RegExp][] = [
    ["none", [], {}, 1, /keyring .* sealed, and no passphrase was given/],
    ["wrong", ["--passphrase-file", wrong], {}, 1, /keyring .*: wrong passphrase/],
    ["missing", ["--passphrase-file", "/nowhere"], {}, 1, /\/nowhere: cannot read/],
    ["option", ["--passphrase-file", passphrase], {}, 0, /^$/],
    ["environment", [], { POSTERN_PASSPHRASE_FILE: passphrase }, 0, /^$/],
  ]
  for (const [name, more, env, code, stderr] of rows) {
    const done = await add(name, more, env)
    expect([name, done.code, done.stderr]).toEqual([name, code, expect.stringMatching(stderr)])
    expect(existsSync(instance.file("out", `${name}.json`))).toBe(code === 0)
  }
  // Who runs the server can end a device without it.
  expect((await postern(["device", "revoke", "alice@example.test", "option", ...instance.config])).code).toBe(0)
})
