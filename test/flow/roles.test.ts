import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { eventually, Instance } from "../harness/instance.ts"
import { sendMail } from "../harness/wire.ts"

let gateway: Instance
let mx: ChildProcess

/** The mx role as a process of its own, whose configuration names an empty folder where the secrets are. */
async function startMx(): Promise<ChildProcess> {
  const bare = join(gateway.folder, "postern-mx.toml")
  mkdirSync(join(gateway.folder, "no-secrets"), { mode: 0o700 })
  writeFileSync(
    bare,
    readFileSync(gateway.configuration, "utf8")
      .replace('secrets = "secrets"', 'secrets = "no-secrets"')
      .replace(/^admin = .*$/m, ""),
  )
  const child = spawn(process.execPath, ["bin/postern.js", "serve", "--config", bare, "--role", "mx"], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  await once(child.stdout, "data")
  return child
}

beforeAll(async () => {
  gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  await gateway.serve({ args: ["--role", "worker,imap,submission,http"] })
  mx = await startMx()
})

afterAll(async () => {
  mx?.kill("SIGKILL")
  await gateway?.[Symbol.asyncDispose]()
})

test("mx runs apart and holds no secret; the worker beside it delivers what it accepted", async () => {
  const reply = await sendMail(
    gateway.port,
    "c@elsewhere.test",
    ["alice@example.test"],
    Buffer.from("Subject: apart\r\n\r\nbody\r\n"),
  )
  expect(reply).toMatch(/^250 /)
  const inbox = join(gateway.maildir("alice@example.test"), "new")
  await eventually("delivery by the other process", () => gateway.spooled() === 0 && readdirSync(inbox).length === 1)
  expect(readdirSync(join(gateway.folder, "no-secrets"))).toEqual([])
})

test("SIGTERM ends a role cleanly, within its ten seconds", async () => {
  const ended = once(mx, "exit")
  mx.kill("SIGTERM")
  expect(await ended).toEqual([0, null])
})

test("what cannot start says why, in one line, and exits 1", async () => {
  const { code, stderr } = await gateway.postern("serve", "--role", "imap")
  expect(code).toBe(1)
  expect(stderr.trim().split("\n").at(-1)).toMatch(/^postern: .*127\.0\.0\.1/)
  const unknown = await gateway.postern("serve", "--role", "nonsense")
  expect(unknown.code).toBe(2)
})
