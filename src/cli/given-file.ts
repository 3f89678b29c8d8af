import { accessSync, constants, readFileSync, statSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { type ErrorCode, GatewayError } from "../errors.ts"
import { systemReason } from "../store/durable.ts"

/**
 * The octets of a file that was named on the command line.
 * @throws GatewayError `code`, saying why it cannot be read
 */
export function readGiven(file: string, code: ErrorCode): Uint8Array {
  try {
    return new Uint8Array(readFileSync(resolve(file)))
  } catch (cause) {
    throw new GatewayError(code, `${file}: cannot read this file: ${systemReason(cause)}`, { cause })
  }
}

/**
 * The same as text.
 * @throws GatewayError `code`
 */
export function readGivenText(file: string, code: ErrorCode): string {
  return new TextDecoder().decode(readGiven(file, code))
}

/**
 * Throws, with the system's words, where nobody can make this file: before a change of which only the file tells.
 * @throws GatewayError USAGE for a folder
 */
export function mustBeWritable(file: string): void {
  const path = resolve(file)
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw new GatewayError("USAGE", `${file}: is a folder`)
  // With the stroke at its end, whatever is no folder is told as that.
  accessSync(`${dirname(path)}/`, constants.W_OK | constants.X_OK)
}
