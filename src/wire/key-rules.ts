import { readFileSync } from "node:fs"
import type { Config } from "../config/config.ts"
import { readNamed } from "../config/load.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { GatewayError } from "../errors.ts"
import type { AskWeb } from "../net/web.ts"
import { AnswerMemory } from "../profiles/usable/answer-memory.ts"
import { revocationOver } from "../profiles/usable/revocation.ts"
import { type KeyRules, type RevocationRule, readRoots } from "../profiles/usable/rules.ts"

/**
 * The rules of [keys] at some time. Files of roots are read once, here.
 * @throws GatewayError CONFIG_INVALID when one of them cannot be read
 */
export function keyRulesOf({ keys }: Pick<Config, "keys">, ask: AskWeb, now: () => Date): (at: Date) => KeyRules {
  const roots = keys.roots.flatMap(rootsIn)
  const revocation = revocationRule(keys, ask, now)
  return (at) => ({ at, roots, revocation, tags: keys.plusTags })
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
