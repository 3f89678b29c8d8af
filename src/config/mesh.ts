/** PURE. [mesh] of postern.toml: this gateway's part in the Mesh. */
import type { MeshConfig } from "./config.ts"
import type { Document } from "./document.ts"
import { hostIn, readDuration, readSize, wrong } from "./values.ts"

/** `hasHttps`: listen.https is stated, which the service is asked at. */
export function readMesh(document: Document, hasHttps: boolean, path: (value: unknown) => string): MeshConfig {
  const service = document.optional<string | null>("mesh.service", readService, null)
  if (service !== null && !hasHttps)
    document.mistake("listen.https", 'is missing: mesh.service needs it, "*:443" in most cases')
  return {
    service,
    accept: document.optional<MeshConfig["accept"]>("mesh.accept", readAccepted, ["contacts", "organisation"]),
    bulk: document.optional<string | null>("mesh.bulk", path, null),
    storageOctets: document.optional("mesh.storage", readSize, 1_000_000_000),
    keepMs: document.optional("mesh.keep", readDuration, 60 * 86_400e3),
  }
}

/** An https URL that ends where services are asked; the empty string: none. */
function readService(value: unknown): string | null {
  if (value === "") return null
  const url = typeof value === "string" ? URL.parse(value) : null
  const isPlain = url?.username === "" && url.password === "" && url.search === "" && url.hash === ""
  if (url === null || url.protocol !== "https:" || !isPlain || hostIn(url) === "" || url.pathname !== MESH_PATH)
    throw wrong(`"https://host${MESH_PATH}", or "" for none`)
  return url.href
}

function readAccepted(value: unknown): MeshConfig["accept"] {
  const expected = wrong(`a list of ${ACCEPTED.map((word) => `"${word}"`).join(", ")}`)
  if (!Array.isArray(value)) throw expected
  return value.map((word: unknown) => {
    const known = ACCEPTED.find((one) => one === word)
    if (known === undefined) throw expected
    return known
  })
}

/** Where a service is asked, as profiles name it. */
export const MESH_PATH = "/.well-known/mmm/"
const ACCEPTED = ["contacts", "organisation", "everybody"] as const
