import { randomBytes } from "node:crypto"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"

/** A word that stands nowhere but where it was put, and how it looks in octets that are not encrypted. */
export interface Canary {
  readonly text: string
  /** In clear, and within base64 at each of the three alignments. */
  readonly forms: readonly string[]
}

export function makeCanary(): Canary {
  const text = `canary${randomBytes(18).toString("hex")}canary`
  const encoded = [0, 1, 2].map((shift) => {
    const base64 = Buffer.from(" ".repeat(shift) + text).toString("base64")
    return base64.slice(shift === 0 ? 0 : 4, -8)
  })
  return { text, forms: [text, ...encoded] }
}

export function shows(octets: Buffer | string, { forms }: Canary): boolean {
  return forms.some((form) => octets.includes(form))
}

/** Files below these folders that show one of the canaries. */
export function filesShowing(folders: readonly string[], canaries: readonly Canary[]): string[] {
  return folders.flatMap(filesBelow).filter((path) => {
    const octets = octetsOf(path)
    return canaries.some((canary) => shows(octets, canary))
  })
}

/** Nothing of a file that a running server has removed meanwhile. */
function octetsOf(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return Buffer.alloc(0)
    throw error
  }
}

export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
}
