import { writeFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import { type PostgresAddress, postgresWarning, readPostgresUrl } from "../../../src/config/postgres-url.ts"
import { connectionOptions, isAway, postgresError } from "../../../src/store/postgres/connection.ts"
import { PostgresState } from "../../../src/store/postgres/state.ts"
import { testCertificate } from "../../harness/certificate.ts"
import { temporaryFolder } from "../../harness/peers.ts"
import { databaseOf, Postgres, postgresPossible } from "../../harness/postgres.ts"

const ELSEWHERE: PostgresAddress = {
  host: "db.example",
  port: 5432,
  user: "postern",
  database: "mail",
  tls: "verified",
  caFile: null,
}

const urls: [what: string, url: string, want: Partial<PostgresAddress> | string][] = [
  ["another machine: verified TLS", "postgres://postern@db.example/mail", {}],
  ["this machine: plain", "postgres://postern@127.0.0.1:5433/mail", { host: "127.0.0.1", port: 5433, tls: "off" }],
  ["this machine, TLS", "postgres://postern@localhost/mail?sslmode=verify-full", { host: "localhost" }],
  ["IPv6", "postgres://postern@[2001:db8::1]:5/mail", { host: "2001:db8::1", port: 5 }],
  ["Unix socket", "postgres://postern@localhost/mail?host=/run/postgresql", { host: "/run/postgresql", tls: "off" }],
  ["Unix socket as host", "postgres://postern@%2Frun%2Fpostgresql/mail", { host: "/run/postgresql", tls: "off" }],
  ["in clear, asked for", "postgres://postern@db.example/mail?sslmode=disable", { tls: "off" }],
  ["not verified, asked for", "postgres://postern@db.example/mail?sslmode=require", { tls: "unverified" }],
  ["authority", "postgres://postern@db.example/mail?sslrootcert=/tls/ca.pem", { caFile: "/tls/ca.pem" }],
  ["escaped names", "postgres://p%40x@db.example/m%20x", { user: "p@x", database: "m x" }],
  ["password", "postgres://postern:x@db.example/mail", "without a password"],
  ["no user", "postgres://db.example/mail", "names user and database"],
  ["no database", "postgres://postern@db.example", "names user and database"],
  ["downgrade", "postgres://postern@db.example/mail?sslmode=prefer", "sslmode is disable, require, verify-full"],
  ["other parameter", "postgres://postern@db.example/mail?options=-c", "says no more than"],
  ["authority that nobody looks at", "postgres://postern@db.example/mail?sslmode=require&sslrootcert=/x", "absolute"],
  ["authority at a place nobody knows", "postgres://postern@db.example/mail?sslrootcert=x", "absolute"],
  ["TLS on a socket", "postgres://postern@localhost/mail?host=/run&sslmode=require", "without sslmode"],
]
for (const [what, url, want] of urls)
  test(`a postgres URL: ${what}`, () => {
    if (typeof want === "string") expect(() => readPostgresUrl(url)).toThrow(want)
    else expect(readPostgresUrl(url)).toEqual({ ...ELSEWHERE, ...want })
  })

test("warns of what others can read or alter", () => {
  const warning = (url: string) => postgresWarning(readPostgresUrl(url))
  expect(warning("postgres://p@db.example/m?sslmode=disable")).toContain("in clear")
  expect(warning("postgres://p@db.example/m?sslmode=require")).toContain("not looked at")
  expect(warning("postgres://p@db.example/m")).toBeNull()
  expect(warning("postgres://p@localhost/m")).toBeNull()
})

test("the password is read at each connection, the authority at once", async () => {
  await using folder = await temporaryFolder()
  writeFileSync(folder.file("password"), "one\n")
  writeFileSync(folder.file("ca.pem"), "an authority")
  const url = `postgres://postern@db.example/mail?sslrootcert=${folder.file("ca.pem")}`
  const options = connectionOptions(
    { kind: "postgres", url, password: { kind: "file", path: folder.file("password") } },
    "state",
  )
  const password = () => (typeof options.password === "function" ? options.password() : options.password)
  expect(password()).toBe("one")
  writeFileSync(folder.file("password"), "two\n")
  expect(password()).toBe("two")
  expect(options).toMatchObject({
    ssl: { rejectUnauthorized: true, ca: "an authority" },
    application_name: "postern state",
  })
})

test("an error without an answer of the server may be tried again, and its words stay in the cause", () => {
  const error = postgresError(new Error("connect ECONNREFUSED alice's secret"), "look")
  expect(error).toMatchObject({ code: "STATE_AWAY", message: "postgres: look: no connection" })
  expect(isAway(error)).toBe(true)
  expect(postgresError(new Error("connect ECONNREFUSED"), "connect").message).toBe(
    "postgres: connect: connect ECONNREFUSED",
  )
})

describe.skipIf(!postgresPossible)("a server on another machine", async () => {
  if (!postgresPossible) return
  const [own, other] = [await testCertificate(), await testCertificate()]
  const server = await Postgres.start({ tls: { ...own, password: "correct horse" } })
  const folder = await temporaryFolder()
  writeFileSync(folder.file("own.pem"), own.certificate)
  writeFileSync(folder.file("other.pem"), other.certificate)
  writeFileSync(folder.file("right"), "correct horse\n")
  writeFileSync(folder.file("wrong"), "wrong horse\n")
  const database = databaseOf(await server.database())
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const rows: [what: string, host: string, parameters: string, password: string | null, want: string | null][] = [
    ["verified by name", "localhost", "sslmode=verify-full&sslrootcert=OWN", "right", null],
    ["verified by address", "127.0.0.1", "sslmode=verify-full&sslrootcert=OWN", "right", null],
    ["of another name", "127.0.0.2", "sslmode=verify-full&sslrootcert=OWN", "right", "does not match"],
    ["of another authority", "localhost", "sslmode=verify-full&sslrootcert=OTHER", "right", "self-signed"],
    ["of an authority that nobody knows", "localhost", "sslmode=verify-full", "right", "self-signed"],
    ["not looked at", "127.0.0.2", "sslmode=require", "right", null],
    ["wrong password", "localhost", "sslmode=require", "wrong", "password authentication failed"],
    ["no password", "localhost", "sslmode=require", null, "password"],
    ["no such file", "localhost", "sslmode=require", "none", "none: cannot read this secret file"],
  ]
  test.each(rows)("%s", (_what, host, parameters, password, want) => {
    const files = parameters.replace("OWN", folder.file("own.pem")).replace("OTHER", folder.file("other.pem"))
    const url = `postgres://postern@${host}:${server.port}/${database}?${files}`
    const open = () =>
      PostgresState.open({
        kind: "postgres",
        url,
        password: password === null ? null : { kind: "file", path: folder.file(password) },
      })
    if (want !== null) expect(open).toThrow(want)
    else open().close()
  })
})
