import { readFileSync } from "node:fs"

/** One of the vectors beside this repository's own: where each comes from stands in its `source`, what is wrong with it in its `note`. */
// biome-ignore lint/suspicious/noExplicitAny: the shape differs with every vector; tests say what they expect of it.
export type MeshVector = { name: string; source: string; inputs: any; expected: any; verified: boolean; note?: string }

/** The vectors of a file of test/vectors/mesh. */
export function meshVectors(file: string): MeshVector[] {
  return JSON.parse(readFileSync(`test/vectors/mesh/${file}.json`, "utf8")).vectors
}

/** The vector of that name. */
export function meshVector(file: string, name: string): MeshVector {
  const found = meshVectors(file).find((vector) => vector.name === name)
  if (!found) throw new Error(`no vector ${name} in ${file}`)
  return found
}

export function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "hex"))
}

export function toHex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex")
}
