/** What folders of signing keys have in common: each with files of secrets, and a keys.json that says what each key is doing. */
import { readdirSync, readFileSync, statSync } from "node:fs"
import { type ErrorCode, GatewayError } from "../errors.ts"
import { systemCode, writeDurably } from "./durable.ts"

/** `pending`: it does not sign yet. `active`: it signs. `retired`: it signs only what was accepted while it was active. */
export type SigningKeyState = "pending" | "active" | "retired"

/** When a key began to sign, and when it ceased; null: never. */
export interface SigningTimes {
  readonly activeAt: Date | null
  readonly retiredAt: Date | null
}

/** Which of the three it is. */
export function signingKeyState({ activeAt, retiredAt }: SigningTimes): SigningKeyState {
  return retiredAt !== null ? "retired" : activeAt !== null ? "active" : "pending"
}

/** Runs one thing at a time, of all processes. */
export type Alone = <T>(act: () => T) => T

/**
 * The keys that a keys.json tells. [] when there is none, and no secret either.
 * @param parse throws for what was not written here
 * @throws GatewayError `code` when there are keys and nobody knows what they are doing
 */
export function readManifest<T>(
  path: string,
  { parse, hasSecrets, code }: { parse(text: string): T[]; hasSecrets(): boolean; readonly code: ErrorCode },
): T[] {
  try {
    return parse(readFileSync(path, "utf8"))
  } catch (cause) {
    const system = systemCode(cause)
    if (system === "ENOENT" && !hasSecrets()) return []
    const what =
      system === "ENOENT" ? "is not there, and keys are" : `cannot be read${system === null ? "" : ` (${system})`}`
    throw new GatewayError(code, `${path}: ${what}`, { cause })
  }
}

/** `keys` as JSON has them. */
export function writeManifest(path: string, keys: readonly object[]): void {
  writeDurably(path, new TextEncoder().encode(`${JSON.stringify({ version: 1, keys }, null, 2)}\n`))
}

/** The keys of a manifest of version 1, as JSON has them. Throws for another version. */
export function manifestKeys<T>(text: string): readonly T[] {
  const { version, keys } = JSON.parse(text) as { readonly version: unknown; readonly keys: readonly T[] }
  if (version !== 1) throw new Error(`version ${String(version)}`)
  return keys
}

/** Throws for what is no date. */
export function dateOf(text: string): Date {
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw new Error("date")
  return date
}

/** What is wrong with the mode of a secret's file, and what to do; null: nothing. Throws the system's error. */
export function exposure(path: string): string | null {
  const mode = statSync(path).mode & 0o777
  return (mode & 0o077) === 0 ? null : `others can use it (mode ${mode.toString(8)}): chmod 600`
}

/**
 * A secret of so many octets, in a file of its own that only its owner can read.
 * @throws what `unusable` makes of what is wrong with it
 */
export function readSecret(
  path: string,
  octets: number,
  unusable: (path: string, what: string, cause?: unknown) => GatewayError,
): Uint8Array {
  try {
    const exposed = exposure(path)
    if (exposed !== null) throw unusable(path, exposed)
    const secret = new Uint8Array(readFileSync(path))
    if (secret.length !== octets) throw unusable(path, `is not ${octets} octets`)
    return secret
  } catch (cause) {
    const code = cause instanceof GatewayError ? null : systemCode(cause)
    throw code === null ? cause : unusable(path, code, cause)
  }
}

/** Octets as a manifest has them: Base64. */
export function octetsOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"))
}

/** Reverses {@link octetsOf}. */
export function base64Of(octets: Uint8Array): string {
  return Buffer.from(octets).toString("base64")
}

/** In order; [] where there is no such folder. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted()
  } catch (error) {
    if (systemCode(error) === "ENOENT") return []
    throw error
  }
}
