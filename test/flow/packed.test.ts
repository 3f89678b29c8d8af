import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { run } from "../harness/peers.ts"

let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "postern-packed-"))
  const packed = await run("npm", ["pack", "--pack-destination", folder], { timeoutMs: 60_000 })
  expect(packed.code, packed.stderr).toBe(0)
  const [tarball] = readdirSync(folder)
  // Installed as npm lays it out; its dependencies are the ones of this checkout, so that no registry is asked.
  const installed = join(folder, "node_modules", "postern")
  mkdirSync(installed, { recursive: true })
  const unpacked = await run("tar", ["-xzf", join(folder, tarball ?? ""), "--strip-components=1", "-C", installed])
  expect(unpacked.code, unpacked.stderr).toBe(0)
  for (const name of readdirSync("node_modules"))
    if (!existsSync(join(folder, "node_modules", name)))
      symlinkSync(join(process.cwd(), "node_modules", name), join(folder, "node_modules", name))
  writeFileSync(join(folder, "package.json"), "{}")
}, 120_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const postern = (...args: string[]) =>
  run(process.execPath, [join(folder, "node_modules", "postern", "bin", "postern.js"), ...args], { cwd: folder })

test("the packed package holds JavaScript, documents and the example, and no TypeScript source or test", () => {
  const files = readdirSync(join(folder, "node_modules", "postern"), { recursive: true, encoding: "utf8" })
  expect(files).toContain(join("dist", "main.js"))
  expect(files).toContain(join("config", "postern.example.toml"))
  expect(files).toContain("LICENSE")
  expect(files.filter((file) => file.endsWith(".ts") || file.startsWith("test"))).toEqual([])
})

test("installed elsewhere, it makes an instance with an account and says what is wrong in one line", async () => {
  const made = await postern("init", "mail", "--domain", "example.org", "--port", "25900")
  expect(made.code, made.stderr).toBe(0)
  const config = ["--config", "mail/postern.toml"]
  const added = await postern("account", "add", "alice@example.org", "--json", ...config)
  expect(added.code, added.stderr).toBe(0)
  expect(JSON.parse(Buffer.from(added.stdout).toString())).toMatchObject({
    address: "alice@example.org",
    formats: ["smime"],
  })
  const again = await postern("account", "add", "alice@example.org", ...config)
  expect(again.code).toBe(1)
  expect(again.stderr).toBe("postern: account alice@example.org: exists already\n")
  expect((await postern("--version")).code).toBe(0)
  expect((await postern("nonsense")).code).toBe(2)
})
