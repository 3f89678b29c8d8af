import { join } from "node:path"
import { setImmediate } from "node:timers/promises"
import { pemDecode } from "../crypto/cms/pem.ts"
import { composeEndingMail } from "../identity/ending-mail.ts"
import {
  correspondentEndings,
  daysLeft,
  type Ending,
  isNear,
  leftText,
  NEAR_DAYS,
  personEndings,
  serverEnding,
  signerEndings,
  warningDays,
} from "../identity/endings.ts"
import { parseAddress } from "../message/address.ts"
import type { Reports } from "../pipeline/ports.ts"
import { reportName } from "../pipeline/report-name.ts"
import { KeptExpiryWarnings } from "../store/expiry-warnings.ts"
import { GatewayKeys } from "../store/gateway-keys.ts"
import { KeptKeyMemory } from "../store/key-memory.ts"
import type { Core } from "./core.ts"
import { startRounds } from "./rounds.ts"
import type { ServerTls } from "./tls.ts"

/** A day has many rounds, so that a gateway which runs by day only warns too. */
const FIRST_MS = 1e3
const EVERY_MS = 3600e3

type WarningCore = Pick<Core, "config" | "people" | "database" | "counters" | "now" | "log">

/** Tells people in time that keys end, until it is disposed of. */
export function startExpiryWarnings(core: WarningCore, shown: () => ServerTls, reports: Reports): AsyncDisposable {
  const { counters, log } = core
  let near: readonly Ending[] = []
  counters.gauge("postern_keys_ending", "Keys and certificates that end within 30 days.", "kind", () => ({
    ...{ account: 0, device: 0, server: 0, correspondent: 0 },
    ...Object.fromEntries([...Map.groupBy(near, ({ kind }) => kind)].map(([kind, all]) => [kind, all.length])),
  }))
  return startRounds({
    firstMs: FIRST_MS,
    everyMs: EVERY_MS,
    round: async (signal) => {
      near = await endingsNear(core, shown(), signal)
      await warn(core, near, reports, signal)
    },
    onError: (error) => log.error("key.warnings-failed", {}, error),
  })
}

/** What is near its end: of our people, of this process's listeners, and of whom mail was written to lately. */
export async function endingsNear(
  { config, people, database, now }: Pick<Core, "config" | "people" | "database" | "now">,
  { names, ...own }: ServerTls,
  signal: AbortSignal,
): Promise<readonly Ending[]> {
  const identities = [[config.hostname, own] as const, ...names]
  const signers = new GatewayKeys(join(config.secrets, "signing"))
  const ofPeople: Ending[] = []
  for (const [index, account] of people.accounts().entries()) {
    // Ten thousand people have a hundred thousand certificates, which take seconds to read.
    if (index % PEOPLE_AT_A_TIME === 0) await setImmediate(undefined, { signal })
    ofPeople.push(...personEndings(account, people), ...signerEndings(account, signers.of(account.address)))
  }
  const endings = [
    ...ofPeople,
    ...identities.flatMap(([name, { certificate }], index) => {
      const chain = pemDecode("CERTIFICATE", certificate)
      return serverEnding(name, chain, index === 0 && config.tls.acme !== null) ?? []
    }),
    ...correspondentEndings(new KeptKeyMemory(database).endingLately(now(), NEAR_DAYS)),
  ]
  return endings.filter((ending) => isNear(ending, now()))
}

/**
 * One round: everybody whose key has come closer to its end than he was told is told, once. The mail is queued first, under a name that is the
 * key's and the threshold's; who is ended between that and the note of it queues the same mail again.
 */
export async function warn(
  core: Pick<Core, "config" | "database" | "counters" | "now" | "log">,
  endings: readonly Ending[],
  reports: Reports,
  signal: AbortSignal,
): Promise<void> {
  const { database, counters, now, log } = core
  const warnings = new KeptExpiryWarnings(database)
  let mails = 0
  for (const ending of endings) {
    signal.throwIfAborted()
    const days = warningDays(ending, now())
    if (days === null) continue
    const key = reportName(ending.kind, ending.fingerprint, ending.until.toISOString())
    if ((warnings.toldDays(key) ?? Number.POSITIVE_INFINITY) <= days) continue
    if (mails >= MAX_MAILS) return log.warn("key.warnings-put-off", { sent: mails })
    mails += 1
    await tell(core, ending, reportName(key, String(days)), reports)
    warnings.tell(key, days, ending.until, now())
    counters.add("postern_expiry_warnings_total", { kind: ending.kind })
    const { kind, about, fingerprint, until } = ending
    log.warn("key.ending", { kind, about, fingerprint, until: until.toISOString(), days: daysLeft(ending, now()) })
  }
}

async function tell(
  { config, now }: Pick<Core, "config" | "now">,
  ending: Ending,
  name: string,
  reports: Reports,
): Promise<void> {
  const postmaster = parseAddress(`postmaster@${config.domains[0] ?? config.hostname}`)
  const to = ending.owner === null ? postmaster : parseAddress(ending.owner)
  const octets = composeEndingMail({
    from: postmaster,
    to,
    ending,
    left: leftText(ending, now()),
    messageId: `<expiry-${name}@${config.hostname}>`,
    date: now(),
  })
  await reports.submit({ name, to, octets })
}

const PEOPLE_AT_A_TIME = 20
/** A round; the others are told an hour later. */
const MAX_MAILS = 200
