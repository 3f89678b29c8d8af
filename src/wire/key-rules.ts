import { readFileSync } from "node:fs"
import type { Config } from "../config/config.ts"
import { readNamed } from "../config/load.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { GatewayError } from "../errors.ts"
import { dnsAddresses } from "../net/addresses.ts"
import { type AskWeb, webClient } from "../net/web.ts"
import { AnswerMemory } from "../profiles/usable/answer-memory.ts"
import { revocationOver } from "../profiles/usable/revocation.ts"
import { type KeyRules, type RevocationRule, readRoots } from "../profiles/usable/rules.ts"

/** What keys are looked for and judged with: made once for a thread, since roots are read and revocation lists remembered in it. */
export interface KeyMeans {
  readonly ask: AskWeb
  readonly rulesAt: (at: Date) => KeyRules
}

/** @throws GatewayError CONFIG_INVALID when a file of roots cannot be read */
export function keyMeansOf(config: Pick<Config, "keys" | "dns">, now: () => Date): KeyMeans {
  const ask = webOf(config)
  return { ask, rulesAt: keyRulesOf(config, ask, now) }
}

/**
 * The rules of [keys] at some time. Files of roots are read once, here.
 * @throws GatewayError CONFIG_INVALID when one of them cannot be read
 */
export function keyRulesOf({ keys }: Pick<Config, "keys">, ask: AskWeb, now: () => Date): (at: Date) => KeyRules {
  const roots = keys.roots.flatMap(rootsIn)
  const revocation = revocationRule(keys, ask, now)
  return (at) => ({ at, roots, revocation, tags: keys.plusTags })
}

/** Asks other people's web servers, within the time that a source has. */
function webOf({ keys, dns }: Pick<Config, "keys" | "dns">): AskWeb {
  return webClient({ resolve: dnsAddresses(dns.servers), timeoutMs: keys.timeoutMs })
}

function revocationRule({ revocation, revocationLists }: Config["keys"], ask: AskWeb, now: () => Date): RevocationRule {
  if (revocation === "off") return { kind: "off" }
  const cache = new AnswerMemory(CACHE_OCTETS, now)
  return { kind: revocation, status: revocationOver({ ask, cache, lists: () => revocationLists.flatMap(listsIn) }) }
}

function rootsIn(file: string): KeyRules["roots"] {
  const text = readNamed(file, "roots")
  try {
    return readRoots(text)
  } catch (cause) {
    if (!(cause instanceof GatewayError)) throw cause
    throw new GatewayError("CONFIG_INVALID", `${file}: ${cause.message}`, { cause })
  }
}

/** Whoever fetches the lists may be writing one now: what cannot be read says nothing, and other places are asked. */
function listsIn(file: string): readonly Uint8Array[] {
  try {
    const octets = readFileSync(file)
    const blocks = pemDecode("X509 CRL", octets.toString("latin1"))
    return blocks.length > 0 ? blocks : [octets]
  } catch {
    return []
  }
}

/** Four of the largest lists. */
const CACHE_OCTETS = 67_108_864
