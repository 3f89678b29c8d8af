/** PURE. Where a secret stands: postern.toml names it and never holds it. */
import type { SecretSource } from "./config.ts"
import type { Document } from "./document.ts"
import { readVariable } from "./values.ts"

/** `nameFile` or `nameEnv`; never the secret itself. null: neither is given. */
export function readSecret(document: Document, name: string, path: (value: unknown) => string): SecretSource | null {
  const file = document.optional<string | null>(`${name}File`, path, null)
  const variable = document.optional<string | null>(`${name}Env`, readVariable, null)
  if (file !== null && variable !== null) document.mistake(`${name}Env`, `stands beside ${name}File: give one of them`)
  if (file !== null) return { kind: "file", path: file }
  return variable === null ? null : { kind: "environment", name: variable }
}
