import { existsSync } from "node:fs"
import { join } from "node:path"
import { equalConstantTime, sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { octetsIn, type State } from "./database.ts"
import { secret } from "./secrets.ts"

/** The secret by which the folder is known: every instance has it. */
const MARKER = "marker"

/**
 * A state that several machines share belongs to one folder of secrets, that of the first process which needed one. Another folder is refused,
 * and so is the empty one that a machine has where the shared one should be mounted: a revocation would destroy nothing there.
 * @throws GatewayError CONFIG_INVALID
 */
export function refuseOtherSecrets(state: State, folder: string): void {
  const known = state.sql.get`SELECT value FROM setting WHERE name = 'secrets'`
  if (known === undefined) {
    state.sql.run`
      INSERT INTO setting (name, value) VALUES ('secrets', ${sha256(secret(folder, MARKER))}) ON CONFLICT DO NOTHING`
    refuseOtherSecrets(state, folder)
    return
  }
  if (!existsSync(join(folder, MARKER)) || !equalConstantTime(sha256(secret(folder, MARKER)), octetsIn(known, "value")))
    throw new GatewayError("CONFIG_INVALID", `${folder}: is not the folder of secrets of this store: is it mounted?`)
}
