import type { Config } from "../config/config.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { GatewayError } from "../errors.ts"
import { NEAR_DAYS } from "../identity/endings.ts"
import { standInState } from "../store/stand-in-authorities.ts"
import { type Finding, note, ok, wrong } from "./check-finding.ts"
import { standInAuthoritiesOf } from "./stand-in.ts"

/** Whether clients can be given certificates of ours, and whether what they encrypt to those can be opened. */
export function standInFindings(config: Config): readonly Finding[] {
  const authorities = standInAuthoritiesOf(config)
  try {
    const all = authorities.all()
    for (const one of all) if (standInState(one) !== "destroyed") authorities.secret(one).fill(0)
    const active = all.find((one) => standInState(one) === "active")
    if (active === undefined)
      return config.keys.standIns ? [wrong(ABOUT, "keys.standIns, and no authority: postern stand-in make")] : []
    if (!config.keys.standIns) return [note(ABOUT, "keys.standIns is not set: clients are given none")]
    const own = config.domains.filter((domain) => !active.excluded.includes(domain))
    return [
      ...(config.listen.ldap || config.listen.ldaps ? [] : [wrong(ABOUT, "no listen.ldaps: nobody can ask for one")]),
      ...own.map((domain) => wrong(ABOUT, `its authority could certify people of ${domain}: postern stand-in replace`)),
      ending(readCertificate(active.certificate).notAfter),
    ]
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return [wrong(ABOUT, `${error.message}; mail that is encrypted to stand-ins waits`)]
  }
}

function ending(notAfter: Date): Finding {
  const day = notAfter.toISOString().slice(0, 10)
  const isNear = notAfter.getTime() - Date.now() < NEAR_DAYS * 86_400_000
  return isNear ? wrong(ABOUT, `its authority ends on ${day}: postern stand-in replace`) : ok(ABOUT, `until ${day}`)
}

const ABOUT = "stand-ins"
