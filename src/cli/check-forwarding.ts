import { GatewayError } from "../errors.ts"
import { hasReturnPathKey } from "../store/return-paths.ts"
import { type Finding, ok, wrong } from "./check-finding.ts"
import type { OpenInstance } from "./shell.ts"

/** Whether bounces of what aliases send on can be told from made-up ones. */
export function forwardingFindings({ people, config }: Pick<OpenInstance, "people" | "config">): readonly Finding[] {
  const leading = [...people.aliases().values()].filter((targets) => targets.some(({ forward }) => forward !== null))
  if (leading.length === 0) return []
  try {
    return hasReturnPathKey(config.secrets)
      ? [ok(ABOUT, `${leading.length} aliases lead elsewhere`)]
      : [
          wrong(
            ABOUT,
            "secrets/srs/key is not there: bounces of what was sent on are lost; the next message makes another",
          ),
        ]
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return [wrong(ABOUT, error.message)]
  }
}

const ABOUT = "forwarding"
