import { GatewayError } from "../errors.ts"
import { overMesh, verifyMailProfile } from "../identity/mail-profile.ts"
import type { MeshAccount, PublishedAccount } from "../store/mesh-accounts.ts"
import { checkGatewayConnection } from "../store/mesh-host.ts"
import { type Finding, note, ok, wrong } from "./check-finding.ts"
import type { OpenInstance } from "./shell.ts"

/** Whether others can reach our people over the Mesh, as their mail profiles say, and whether we may send for them. */
export function meshFindings(instance: OpenInstance): readonly Finding[] {
  const { people, meshAccounts } = instance
  return people.accounts().flatMap(({ address }) => {
    try {
      return findingOf(address, meshAccounts.publishedOf(address), instance)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      return [wrong(aboutOf(address), `${error.message}: postern account mesh ${address}`)]
    }
  })
}

function findingOf(
  address: string,
  account: PublishedAccount | MeshAccount | null,
  { config, connectedHost }: OpenInstance,
): readonly Finding[] {
  const about = aboutOf(address)
  const { service } = config.mesh
  if (account === null) return service === null ? [] : [note(about, `there is none: postern account mesh ${address}`)]
  // Whoever has left is not told to come back.
  if (!("connection" in account)) return service === null ? [] : [note(about, "has left")]
  const stated = overMesh(verifyMailProfile(account.mailProfile))?.service ?? null
  if (stated !== service)
    return [
      wrong(
        about,
        `its mail profile has ${stated ?? "no service"}, mesh.service is ${service ?? "none"}: postern account mesh ${address}`,
      ),
    ]
  if (service === null) return []
  const { notOnOrAfter } = checkGatewayConnection(connectedHost(), account, new Date()).keys.signature
  return [ok(about, notOnOrAfter === null ? "connected" : `connected until ${notOnOrAfter.toISOString().slice(0, 10)}`)]
}

function aboutOf(address: string): string {
  return `mesh account of ${address}`
}
