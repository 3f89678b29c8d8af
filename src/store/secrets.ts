import { linkSync, readFileSync, unlinkSync } from "node:fs"
import { join } from "node:path"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, syncFolder, systemCode, writeDurably } from "./durable.ts"

/**
 * Reads the secret `name` of this instance from the folder `secrets`, making it at first use: `octets` random octets, mode 0600.
 * Processes that start at once agree on one value.
 * @throws GatewayError STATE_CORRUPT when the file has another length
 */
export function secret(secrets: string, name: string, octets = 32): Uint8Array {
  return ofLength(
    octets,
    keptSecret(secrets, name, () => randomOctets(octets)),
    join(secrets, name),
  )
}

/** The same where another process makes it. @returns null when it is not there */
export function secretMade(secrets: string, name: string, octets = 32): Uint8Array | null {
  const value = read(join(secrets, name))
  return value && ofLength(octets, value, join(secrets, name))
}

/** The same for a secret of another form: `make` gives the file's content, and what was made first stays. */
export function keptSecret(secrets: string, name: string, make: () => Uint8Array): Uint8Array {
  const path = join(secrets, name)
  return read(path) ?? keep(secrets, path, make())
}

function ofLength(octets: number, value: Uint8Array, path: string): Uint8Array {
  if (value.length !== octets) throw new GatewayError("STATE_CORRUPT", `secret ${path}: not ${octets} octets`)
  return value
}

function keep(secrets: string, path: string, made: Uint8Array): Uint8Array {
  makePrivateFolder(secrets)
  const mine = `${path}.${Buffer.from(randomOctets(6)).toString("hex")}`
  writeDurably(mine, made)
  try {
    // link, not rename: who comes second finds the name taken and uses what stands there.
    linkSync(mine, path)
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error
  } finally {
    unlinkSync(mine)
  }
  syncFolder(secrets)
  return new Uint8Array(readFileSync(path))
}

function read(path: string): Uint8Array | null {
  try {
    return new Uint8Array(readFileSync(path))
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null
    throw error
  }
}
