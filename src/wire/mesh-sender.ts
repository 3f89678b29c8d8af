import { GatewayError } from "../errors.ts"
import type { MeshSender } from "../pipeline/mesh/ports.ts"
import type { MeshAccount } from "../store/mesh-accounts.ts"
import { checkGatewayConnection, type MeshHost } from "../store/mesh-host.ts"
import type { Core } from "./core.ts"

/** This gateway as the account's device. @returns null: it may not send for the account, or no longer; the log says why */
export function meshSenderOf(
  host: MeshHost,
  account: MeshAccount,
  { now, log }: Pick<Core, "now" | "log">,
): MeshSender | null {
  try {
    checkGatewayConnection(host, account, now())
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    log.error("mesh.not-connected", { account: account.address }, error)
    return null
  }
  const { profile, connection } = account
  return { profile, device: { signer: host.signerOf(account), connection } }
}
