import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { describe, expect, test } from "vitest"

/** The table of docs/ARCHITECTURE.md, "Who may import whom". Longest prefix wins. */
const LAYERS: Readonly<Record<string, number>> = {
  "errors.ts": 0,
  message: 0,
  mime: 0,
  crypto: 0,
  mesh: 0,
  "imap-proxy/wire": 0,
  config: 1,
  log: 1,
  net: 1,
  store: 1,
  queue: 1,
  profiles: 1,
  identity: 1,
  pipeline: 2,
  acme: 3,
  "smtp-in": 3,
  "smtp-out": 3,
  scan: 3,
  deliver: 3,
  "mesh-out": 3,
  "mesh-in": 3,
  "ldap-in": 3,
  "imap-proxy": 3,
  mailbox: 3,
  http: 3,
  cli: 3,
  "main.ts": 4,
  "wire.ts": 4,
  wire: 4,
}

/** The one file or folder that may import a package (or node:crypto). */
const IMPORTERS: Readonly<Record<string, string>> = {
  "node:crypto": "crypto/primitives",
  "@noble/curves": "crypto/primitives",
  "node:sqlite": "store/sqlite.ts",
  pg: "store/postgres",
  bullmq: "queue/redis",
  ioredis: "queue/redis",
  openpgp: "crypto/openpgp",
  "smtp-server": "smtp-in",
  mailauth: "smtp-in",
  nodemailer: "smtp-out",
  "dns-packet": "net",
  imapflow: "deliver",
  commander: "cli",
  "smol-toml": "config",
  pino: "log",
  "prom-client": "log",
  fastify: "http",
  "rate-limiter-flexible": "wire",
  tldts: "message/site.ts",
}

interface Import {
  readonly from: string
  readonly target: string
  readonly typeOnly: boolean
}

const files = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
const imports = files.flatMap(importsOf)
const internal = imports
  .filter((edge) => edge.target.startsWith("src/"))
  .map((edge) => ({ ...edge, target: edge.target.slice(4) }))
const external = imports.filter((edge) => !edge.target.startsWith("src/"))

function importsOf(from: string): Import[] {
  const text = readFileSync(join("src", from), "utf8")
  const pattern = /^(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"|(?:import|require)\("([^"]+)"\)/gm
  return [...text.matchAll(pattern)].map((match) => {
    const written = match[2] ?? match[3] ?? ""
    const target = written.startsWith(".") ? normalize(join("src", dirname(from), written)) : written
    return { from, target, typeOnly: match[1] !== undefined }
  })
}

function placeOf(file: string): string {
  const place = Object.keys(LAYERS)
    .filter((prefix) => file === prefix || file.startsWith(`${prefix}/`))
    .sort((a, b) => b.length - a.length)[0]
  if (place === undefined) throw new Error(`${file}: its folder stands in no layer`)
  return place
}

const layerOf = (file: string): number => LAYERS[placeOf(file)] ?? Number.NaN
const isPure = (file: string): boolean => /^\/\*\* PURE\b/m.test(readFileSync(join("src", file), "utf8"))

describe("who may import whom", () => {
  test("the scan sees the tree (a check that finds nothing would pass everything)", () => {
    expect(files.length).toBeGreaterThan(20)
    expect(internal).toContainEqual({ from: "message/envelope.ts", target: "message/address.ts", typeOnly: true })
    expect(files.map(placeOf)).not.toContain(undefined)
  })

  test("imports go downwards, and never from edge to edge", () => {
    const wrong = internal.filter(({ from, target }) => {
      if (placeOf(from) === placeOf(target)) return false
      if (layerOf(from) === 3 && layerOf(target) === 3) return true
      return layerOf(target) > layerOf(from)
    })
    expect(wrong).toEqual([])
  })

  test("files marked PURE import layer 0 only", () => {
    const pure = files.filter(isPure)
    expect(
      internal.filter(
        (edge) => pure.includes(edge.from) && !edge.typeOnly && layerOf(edge.target) > 0 && !isPure(edge.target),
      ),
    ).toEqual([])
  })

  test("layer 0 touches no node: module but streams' types, outside crypto/primitives", () => {
    const wrong = external.filter(
      ({ from, target, typeOnly }) =>
        target.startsWith("node:") &&
        layerOf(from) === 0 &&
        !from.startsWith("crypto/primitives/") &&
        !(target === "node:stream" && typeOnly),
    )
    expect(wrong).toEqual([])
  })

  test("layer 0 has no clock, no Math.random, no process", () => {
    const banned = /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(|\bprocess\.|\bsetTimeout\(/
    const wrong = files.filter((file) => layerOf(file) === 0 && banned.test(readFileSync(join("src", file), "utf8")))
    expect(wrong).toEqual([])
  })

  test("each outside package has one importer", () => {
    const wrong = external.filter(({ from, target }) => {
      const name = target.startsWith("node:")
        ? target
        : target
            .split("/")
            .slice(0, target.startsWith("@") ? 2 : 1)
            .join("/")
      const allowed = IMPORTERS[name]
      if (allowed === undefined) return !target.startsWith("node:")
      return !(from === allowed || from.startsWith(`${allowed}/`))
    })
    expect(wrong).toEqual([])
  })

  test("nobody imports node:http, which is dear (net/http.ts)", () => {
    expect(external.filter(({ target, typeOnly }) => target === "node:http" && !typeOnly)).toEqual([])
  })

  test("no cycles", () => {
    const edges = Map.groupBy(internal, (edge) => edge.from)
    const done = new Set<string>()
    const visit = (file: string, path: readonly string[]): string[][] => {
      if (path.includes(file)) return [[...path.slice(path.indexOf(file)), file]]
      if (done.has(file)) return []
      const found = (edges.get(file) ?? []).flatMap((edge) => visit(edge.target, [...path, file]))
      done.add(file)
      return found
    }
    expect(files.flatMap((file) => visit(file, []))).toEqual([])
  })

  test("no barrels, no default exports", () => {
    expect(files.filter((file) => file.endsWith("index.ts"))).toEqual([])
    expect(files.filter((file) => /^export default\b/m.test(readFileSync(join("src", file), "utf8")))).toEqual([])
  })
})
