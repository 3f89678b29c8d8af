import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { parse } from "yaml"
import { ROLES } from "../src/wire/core.ts"

interface Service {
  readonly command: readonly string[]
  readonly volumes: readonly string[]
  readonly tmpfs: readonly string[]
  readonly read_only: boolean
  readonly cap_drop: readonly string[]
  readonly depends_on?: Readonly<Record<string, unknown>>
  readonly healthcheck: { readonly test: readonly string[] }
}

const compose: { readonly services: Readonly<Record<string, Service>> } = parse(readFileSync("compose.yaml", "utf8"), {
  merge: true,
})
const services = Object.entries(compose.services)

test("there is one service for each role, and it plays that role only", () => {
  expect(Object.keys(compose.services).sort()).toEqual([...ROLES].sort())
  for (const [name, { command }] of services) expect(command.slice(-2)).toEqual(["--role", name])
})

test("only those that recrypt or open the spool get the secrets, and nobody gets the keyring", () => {
  const mounts = (what: string) =>
    services.filter(([, { volumes }]) => volumes.some((volume) => volume.includes(what))).map(([name]) => name)
  expect(mounts("secrets").sort()).toEqual(["imap", "worker"])
  expect(mounts("keyring")).toEqual([])
  // The keys that sign leaving mail lie among them, and are the worker's alone.
  expect(
    services.filter(([, { tmpfs }]) => tmpfs.some((path) => path.endsWith("/secrets/dkim"))).map(([name]) => name),
  ).toEqual(["imap"])
  expect(mounts("data")).toHaveLength(services.length)
})

test("every service drops privileges, is checked, and waits for services that exist", () => {
  for (const [, service] of services) {
    expect(service.read_only).toBe(true)
    expect(service.cap_drop).toEqual(["ALL"])
    expect(service.healthcheck.test.join(" ")).toContain("/readyz")
    for (const other of Object.keys(service.depends_on ?? {})) expect(Object.keys(compose.services)).toContain(other)
  }
})

test("the image runs the program of the checkout", () => {
  const dockerfile = readFileSync("Dockerfile", "utf8")
  expect(dockerfile).toContain('ENTRYPOINT ["node", "/opt/postern/src/main.ts"]')
  expect(dockerfile).toMatch(/^USER postern$/m)
})
