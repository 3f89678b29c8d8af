import { GatewayError } from "../errors.ts"
import { overMesh } from "../identity/mail-profile.ts"
import { accessOf, relationOf } from "../mesh/access.ts"
import { isNameOf } from "../mesh/profile.ts"
import { parseAddress } from "../message/address.ts"
import type { AskedWhen, KnownSender, MeshSenders } from "../pipeline/mesh/ports.ts"
import type { Discovery } from "../profiles/discover.ts"
import { Contacts } from "../store/contacts.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import type { MeshHost } from "../store/mesh-host.ts"
import type { Core } from "./core.ts"
import { mailProfiles } from "./mail-profiles.ts"

/** Whose mail comes in over the Mesh, and whom we know: our people by their profiles, everybody else by the mail profile that he publishes, which is where mail to him would go as well. */
export function meshSenders(
  { config, database }: Pick<Core, "config" | "database">,
  { device }: Pick<MeshHost, "device">,
  correspondents: Pick<Discovery, "resolve" | "ask">,
): MeshSenders {
  const accounts = new MeshAccounts(database)
  const contacts = new Contacts(database)
  const profileIn = mailProfiles()
  return {
    admits(recipient, { address, udf }) {
      const ours = accounts.byUdf(udf)?.address === address
      const relation = relationOf({ ...contacts.factsOf(recipient, udf, address), ours })
      return accessOf("MessageMail", relation, config.mesh.accept).kind === "enter"
    },
    async find(address, udf, asked) {
      const own = accounts.of(address)
      if (own === null) return published(address, udf, asked)
      return isNameOf(own.profile, udf) ? { profile: own.profile, gatewayDevice: device.profile.udf } : null
    },
  }

  async function published(written: string, udf: string, asked: AskedWhen): Promise<KnownSender | null> {
    const address = parseAddress(written)
    const { keys, unanswered } = await (asked === "anew"
      ? correspondents.ask(address)
      : correspondents.resolve(address))
    const profiles = keys.filter(({ format }) => format === "mesh").map(({ octets }) => profileIn(octets))
    const found = profiles.find(({ profile }) => isNameOf(profile, udf))
    if (found !== undefined) return { profile: found.profile, gatewayDevice: overMesh(found)?.deviceUdf ?? null }
    // What else is known may be of the time before this profile.
    if (unanswered.length > 0) throw new GatewayError("KEY_SOURCE_SILENT", `mesh: no answer about ${written}`)
    return null
  }
}
