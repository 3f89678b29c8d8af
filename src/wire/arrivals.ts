import { examiningArrivals } from "../pipeline/arriving/examine.ts"
import type { Arrivals } from "../pipeline/ports.ts"
import type { Discovery } from "../profiles/discover.ts"
import { KeptVerdicts, MailKeys } from "../store/mail-keys.ts"
import type { Core } from "./core.ts"
import type { KeyMeans } from "./key-rules.ts"

/** Looks at what arriving mail shows of signatures and keys, and keeps the keys that the configuration wants to know. */
export function arrivalsOf(
  { config, database, log }: Core,
  correspondents: Discovery,
  { rulesAt }: Pick<KeyMeans, "rulesAt">,
): Arrivals {
  const { sources } = config.keys
  const kept = new MailKeys(database)
  return examiningArrivals({
    authservId: config.hostname,
    keys: correspondents,
    rulesAt,
    verdicts: new KeptVerdicts(database),
    peers: sources.includes("autocrypt") ? kept : null,
    harvest: sources.includes("harvested") ? kept : null,
    log,
  })
}
