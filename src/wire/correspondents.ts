import { dnsAddresses } from "../net/addresses.ts"
import { webClient } from "../net/web.ts"
import { answerOf, answerText } from "../profiles/answer-text.ts"
import { Discovery, type KeptAnswers, type KeyMemory } from "../profiles/discover.ts"
import { type KeyFormat, type KeySource, TRUST, type Trust } from "../profiles/key.ts"
import { hkps } from "../profiles/sources/hkps.ts"
import { mailProfile } from "../profiles/sources/mail-profile.ts"
import { pinnedSource } from "../profiles/sources/pinned.ts"
import { vks } from "../profiles/sources/vks.ts"
import { wkd } from "../profiles/sources/wkd.ts"
import type { KeyRules } from "../profiles/usable/rules.ts"
import { judge } from "../profiles/usable.ts"
import { KeptKeyAnswers } from "../store/key-answers.ts"
import { KeptKeyMemory } from "../store/key-memory.ts"
import type { Core } from "./core.ts"

/** Looks for keys of other people where the configuration says. */
export function correspondentsOf(core: Pick<Core, "config" | "database" | "people" | "now">): Discovery {
  const { config, database, now } = core
  const { timeoutMs, keepFoundMs, keepNoneMs } = config.keys
  return new Discovery({
    sources: sourcesOf(core),
    judge: (candidate, address, at) => judge(candidate, address, rulesAt(at), AbortSignal.timeout(timeoutMs)),
    answers: answersIn(new KeptKeyAnswers(database)),
    memory: memoryIn(new KeptKeyMemory(database)),
    timeoutMs,
    keepFoundMs,
    keepNoneMs,
    now,
  })
}

function rulesAt(at: Date): KeyRules {
  return { at, roots: [], revocation: { kind: "off" }, tags: false }
}

function sourcesOf({ config, people, now }: Pick<Core, "config" | "people" | "now">): readonly KeySource[] {
  const { sources, keyservers, timeoutMs } = config.keys
  const trusted = new Set(keyservers.map(({ host }) => host))
  const ask = webClient({ resolve: dnsAddresses(config.dns.servers), timeoutMs, trusted })
  return [
    ...sources.flatMap((name) => {
      if (name === "pinned") return [pinnedSource(people)]
      return [name === "wkd" ? wkd(ask) : mailProfile(ask)]
    }),
    ...keyservers.map(({ protocol, host, port }) => {
      const server = { host: port === null ? host : `${host}:${port}`, ask, now }
      return protocol === "vks" ? vks(server) : hkps(server)
    }),
  ]
}

function answersIn(kept: KeptKeyAnswers): KeptAnswers {
  return {
    find(address, source) {
      const found = kept.find(address, source)
      return found === null ? null : { answer: answerOf(found.text), askedAt: found.askedAt }
    },
    keep: (address, source, { answer, askedAt }) => kept.keep(address, source, { text: answerText(answer), askedAt }),
  }
}

function memoryIn(kept: KeptKeyMemory): KeyMemory {
  return {
    // What this program wrote is read back; what another version wrote and this one does not know is no memory.
    of: (address) =>
      kept
        .of(address)
        .flatMap((row) =>
          isTrust(row.trust) && isFormat(row.format) ? [{ ...row, trust: row.trust, format: row.format }] : [],
        ),
    saw: (address, keys, at) => kept.saw(address, keys, at),
  }
}

function isTrust(word: string): word is Trust {
  return (TRUST as readonly string[]).includes(word)
}

function isFormat(word: string): word is KeyFormat {
  return word === "smime" || word === "openpgp"
}
