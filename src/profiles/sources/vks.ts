import type { KeySource } from "../key.ts"
import { type Keyserver, keyserver } from "./keyserver.ts"

/** A verifying keyserver (keys.openpgp.org/about/api, "VKS"): it publishes an address once whoever reads its mail has agreed. */
export function vks(server: Keyserver): KeySource {
  return keyserver("vks", server, (address) => `/vks/v1/by-email/${encodeURIComponent(address.toWellFormed())}`)
}
