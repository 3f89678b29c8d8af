import type { ClientsConfig } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { type Address, parseAddress } from "../message/address.ts"

/** What mail clients are told that set themselves up, and for addresses of which domains. */
export interface ClientSetup {
  readonly domains: readonly string[]
  readonly services: ClientsConfig
}

/** @returns null for what is no address. Whether somebody has it is not looked up here, so no answer can tell. */
export function readAddress(written: unknown): Address | null {
  if (typeof written !== "string") return null
  try {
    return parseAddress(written)
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** The domains that a request's host name stands for: the one it names, or is below; all of ours for an IP address or another name. */
export function hostDomains(hostname: string, domains: readonly string[]): readonly string[] {
  const asked = hostname.toLowerCase()
  const named = domains.filter((domain) => asked === domain || asked.endsWith(`.${domain}`))
  return named.length > 0 ? named : domains
}
