import { existsSync, readFileSync } from "node:fs"
import { resolve } from "node:path"
import { parse, TomlError } from "smol-toml"
import { GatewayError } from "../errors.ts"
import { systemReason } from "../store/durable.ts"
import type { Config, SecretSource } from "./config.ts"
import type { Mistake } from "./document.ts"
import { keyLines } from "./lines.ts"
import { checkConfig } from "./schema.ts"

/** Where postern.toml is looked for when nobody names it. */
const PLACES: readonly string[] = ["postern.toml", "var/postern.toml"]

/**
 * Reads and checks postern.toml: `path` when given, else ./postern.toml, else ./var/postern.toml.
 * @throws GatewayError CONFIG_INVALID naming file, line and key of every mistake
 */
export function loadConfig(path: string | null, workingFolder: string): Config {
  const file = findConfig(path, workingFolder)
  if (file === null)
    throw new GatewayError(
      "CONFIG_INVALID",
      `${PLACES.join(", ")}: not found; name one with --config, or make one with "postern init"`,
    )
  return parseConfig(readConfigFile(file), file)
}

/** The absolute path of the postern.toml that {@link loadConfig} would read; null: there is none, and nobody named one. */
export function findConfig(path: string | null, workingFolder: string): string | null {
  if (path !== null) return resolve(workingFolder, path)
  return PLACES.map((place) => resolve(workingFolder, place)).find((place) => existsSync(place)) ?? null
}

/**
 * Checks the text of a postern.toml that stands at `file` (absolute).
 * @throws GatewayError CONFIG_INVALID naming file, line and key of every mistake
 */
export function parseConfig(text: string, file: string): Config {
  const lines = keyLines(text)
  const checked = checkConfig(parseToml(text, file), file, (key) => lines.get(key) ?? null)
  if (checked.kind === "config") return checked.config
  throw new GatewayError("CONFIG_INVALID", checked.mistakes.map((mistake) => describe(file, mistake)).join("\n"))
}

/**
 * The secret itself, without one trailing newline.
 * @throws GatewayError CONFIG_INVALID when the file or variable is not there
 */
export function readSecretText(source: SecretSource): string {
  if (source.kind === "file") return readNamed(source.path, "secret").replace(/\r?\n$/, "")
  const value = process.env[source.name]
  if (value === undefined)
    throw new GatewayError("CONFIG_INVALID", `${source.name}: the environment has no such variable`)
  return value.replace(/\r?\n$/, "")
}

function readConfigFile(file: string): string {
  return readNamed(file, "configuration")
}

/**
 * A file that the configuration names.
 * @throws GatewayError CONFIG_INVALID saying `what` it should have been
 */
export function readNamed(file: string, what: string): string {
  try {
    return readFileSync(file, "utf8")
  } catch (cause) {
    throw new GatewayError("CONFIG_INVALID", `${file}: cannot read this ${what} file: ${systemReason(cause)}`, {
      cause,
    })
  }
}

function parseToml(text: string, file: string): unknown {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause
    const what = (cause.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "")
    throw new GatewayError("CONFIG_INVALID", `${file}:${cause.line}: ${what}`, { cause })
  }
}

function describe(file: string, mistake: Mistake): string {
  const where = mistake.line === null ? file : `${file}:${mistake.line}`
  return `${where}: ${mistake.key}: ${mistake.message}`
}
