import type { Config } from "../config/config.ts"
import { GatewayError } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import { type DkimKey, DkimKeys } from "../store/dkim-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { keyFolder, neededUntil } from "./dkim-records.ts"
import { type CommonOptions, openInstance } from "./shell.ts"

/** The keys of an instance, for a command that changes them. */
export interface OpenKeys extends Disposable {
  readonly config: Config
  readonly keys: DkimKeys
}

/** Opens them so that commands take turns: state's write lock is theirs while they change something. */
export function openKeys(options: CommonOptions): OpenKeys {
  const instance = openInstance(options)
  const keys = new DkimKeys(keyFolder(instance.config), (act) => instance.database.transaction(act))
  return { config: instance.config, keys, [Symbol.dispose]: () => instance[Symbol.dispose]() }
}

/** A key as it may be shown. */
export function viewOf(key: DkimKey, config: Config) {
  return {
    domain: key.domain,
    selector: key.selector,
    algorithm: key.algorithm,
    state: signingKeyState(key),
    madeAt: key.madeAt.toISOString(),
    activeAt: key.activeAt?.toISOString() ?? null,
    retiredAt: key.retiredAt?.toISOString() ?? null,
    /** When the record of a retired key may go. */
    recordUntil: neededUntil(key, config)?.toISOString() ?? null,
  }
}

/** @throws GatewayError DKIM_KEY_UNKNOWN when the domain has none */
export function knownDomain(
  written: string,
  keys: DkimKeys,
): { readonly domain: string; readonly all: readonly DkimKey[] } {
  const domain = parseDomain(written)
  const all = keys.of(domain)
  if (all.length === 0)
    throw new GatewayError("DKIM_KEY_UNKNOWN", `dkim keys of ${domain}: there are none: postern dkim add ${domain}`)
  return { domain, all }
}

/**
 * A change holds for what is accepted from then on. Every worker sees it by then: what one signs before, another would sign alike.
 */
export function inAMoment(): Date {
  return new Date(Date.now() + MOMENT_MS)
}

const MOMENT_MS = 2_000
