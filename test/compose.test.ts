import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { parse } from "yaml"
import { parseConfig } from "../src/config/load.ts"
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
  expect(dockerfile).toContain('ENTRYPOINT ["node", "/opt/postern/bin/postern.js"]')
  expect(dockerfile).toMatch(/^USER postern$/m)
})

describe("compose.several.yaml", () => {
  interface Shared {
    readonly image?: string
    readonly secrets: readonly string[]
    readonly environment?: Readonly<Record<string, string>>
    readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
    readonly healthcheck?: { readonly test: readonly string[] }
    readonly ports?: readonly string[]
  }
  const text = readFileSync("compose.several.yaml", "utf8")
  const several: {
    readonly services: Readonly<Record<string, Shared>>
    readonly secrets: Readonly<Record<string, { readonly file: string }>>
  } = parse(text)

  test("adds PostgreSQL and Redis, of fixed versions, checked, and published to nobody", () => {
    const added = Object.entries(several.services).filter(([name]) => compose.services[name] === undefined)
    expect(added.map(([name]) => name).sort()).toEqual(["postgres", "redis"])
    for (const [name, { image, healthcheck, ports }] of added) {
      expect(image, name).toMatch(/:\d+$/)
      expect(healthcheck?.test.length, name).toBeGreaterThan(1)
      expect(ports, name).toBeUndefined()
    }
  })

  test("every role waits until both answer, and gets their passwords in files", () => {
    for (const role of ROLES) {
      const { depends_on, secrets } = several.services[role] ?? {}
      expect(depends_on).toEqual({
        postgres: { condition: "service_healthy" },
        redis: { condition: "service_healthy" },
      })
      expect(secrets).toEqual(["postgres", "redis", "database_ca"])
    }
    for (const { secrets } of Object.values(several.services))
      for (const name of secrets) expect(several.secrets[name]?.file).toMatch(/^\.\/instance\/passwords\//)
    // The database's own key is for it alone.
    const withKey = Object.entries(several.services).filter(([, { secrets }]) => secrets.includes("database_key"))
    expect(withKey.map(([name]) => name)).toEqual(["postgres", "redis"])
    expect(Object.keys(several.services["postgres"]?.environment ?? {})).toContain("POSTGRES_PASSWORD_FILE")
  })

  test("the configuration that it shows is one, with nothing that is a machine's own", () => {
    const shown = text
      .split("\n")
      .filter((line) => line.startsWith("#     ") && !line.includes("docker compose"))
      .map((line) => line.slice(6))
    const config = parseConfig(`domains = ["example.org"]\n${shown.join("\n")}\n`, "/var/lib/postern/postern.toml")
    expect(config.store).toMatchObject({ kind: "postgres", password: { kind: "file", path: "/run/secrets/postgres" } })
    expect(config.queue).toMatchObject({ kind: "redis", password: { kind: "file", path: "/run/secrets/redis" } })
    expect(config.warnings).toEqual([])
  })
})
