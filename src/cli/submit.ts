import { resolve } from "node:path"
import type { Made } from "../identity/account.ts"
import { applyRequest } from "../identity/apply.ts"
import type { Keyring } from "../identity/keyring.ts"
import type { Person } from "../identity/person.ts"
import { writeDurably } from "../store/durable.ts"
import { type CommonOptions, type OpenInstance, openInstance, print } from "./shell.ts"

/** Options of commands whose change may be carried to the server by hand. */
export interface SubmitOptions extends CommonOptions {
  readonly offline?: string
}

/**
 * Saves what the owner keeps, then tells the server: applied at once, or written to the file of `--offline`.
 * `before` is what the keyring held; it holds it again when the server refuses. null: nothing.
 */
export async function submit(
  options: SubmitOptions,
  keyring: Keyring,
  before: Person | null,
  made: Made,
): Promise<void> {
  // The secrets first: a key that the server publishes and nobody holds would swallow mail.
  await keyring.save(made.person)
  try {
    if (options.offline === undefined) apply(options, made.request)
    else writeDurably(resolve(options.offline), new TextEncoder().encode(made.request))
  } catch (error) {
    if (before === null) keyring.remove(made.person.address)
    else await keyring.save(before)
    throw error
  }
}

/** Says where the request went, for people. */
export function printOffline(options: SubmitOptions): void {
  if (options.offline !== undefined)
    print(`request written to ${options.offline}; on the server: postern accept ${options.offline}`)
}

/** Opens the instance unless the command works offline. Checks early what would be refused late. */
export async function whenOnline(options: SubmitOptions, check: (instance: OpenInstance) => void): Promise<void> {
  if (options.offline !== undefined) return
  using instance = openInstance(options)
  check(instance)
}

function apply(options: SubmitOptions, request: string): void {
  using instance = openInstance(options)
  applyRequest(instance, request, new Date())
}
