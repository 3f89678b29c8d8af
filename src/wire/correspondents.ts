import { answerOf, answerText } from "../profiles/answer-text.ts"
import { Discovery, type KeptAnswers, type KeyMemory } from "../profiles/discover.ts"
import { type KeyFormat, TRUST, type Trust } from "../profiles/key.ts"
import { judge } from "../profiles/usable.ts"
import { KeptProfiles } from "../store/kept-profiles.ts"
import { KeptKeyAnswers } from "../store/key-answers.ts"
import { KeptKeyMemory } from "../store/key-memory.ts"
import { MailKeys } from "../store/mail-keys.ts"
import { PinnedCertificates } from "../store/pinned-certificates.ts"
import type { Core } from "./core.ts"
import type { KeyMeans } from "./key-rules.ts"
import { keySources } from "./key-sources.ts"

/** Looks for keys of other people where the configuration says. */
export function correspondentsOf(
  core: Pick<Core, "config" | "database" | "now">,
  { ask, rulesAt }: KeyMeans,
): Discovery {
  const { config, database, now } = core
  const { timeoutMs, keepFoundMs, keepNoneMs } = config.keys
  const stack = new DisposableStack()
  return new Discovery({
    sources: keySources(
      {
        config,
        pins: new PinnedCertificates(database),
        mail: new MailKeys(database),
        profiles: new KeptProfiles(database),
        ask,
        now,
      },
      stack,
    ),
    judge: (candidate, address, at) => judge(candidate, address, rulesAt(at), AbortSignal.timeout(timeoutMs)),
    answers: answersIn(new KeptKeyAnswers(database, Math.max(keepFoundMs, keepNoneMs))),
    memory: memoryIn(new KeptKeyMemory(database)),
    timeoutMs,
    keepFoundMs,
    keepNoneMs,
    now,
    stack,
  })
}

function answersIn(kept: KeptKeyAnswers): KeptAnswers {
  return {
    find(address, source) {
      const found = kept.find(address, source)
      const answer = found && answerOf(found.text)
      return found && answer && { answer, askedAt: found.askedAt }
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
    trustsOf: (domain) => kept.trustsOf(domain).filter(isTrust),
    saw: (address, keys, at) => kept.saw(address, keys, at),
  }
}

function isTrust(word: string): word is Trust {
  return (TRUST as readonly string[]).includes(word)
}

function isFormat(word: string): word is KeyFormat {
  return word === "smime" || word === "openpgp" || word === "mesh"
}
