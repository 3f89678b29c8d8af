import { type Address, addressKey, formatAddress, parseAddress } from "../message/address.ts"
import type { People } from "../store/people.ts"
import { type Instance, type Prospect, print, printJson, type Shell } from "./shell.ts"

/** What one source said. */
interface Answer {
  readonly source: string
  /** "no answer" is not "nothing". */
  readonly outcome: "found" | "nothing" | "no answer" | "not for such addresses"
  readonly detail: string
  readonly ms: number
}

export interface LookupOptions {
  readonly json?: boolean
  /** Who would write; null: somebody. */
  readonly from?: string
}

/** `postern profile lookup`: what every source says of an address now, and what would become of mail to it. */
export async function lookup(written: string, instance: Instance, options: LookupOptions, shell: Shell): Promise<void> {
  const address = parseAddress(written)
  const here = accountAnswer(instance.people, address)
  const prospect = await shell.starters.prospect(instance, {
    sender: options.from ?? null,
    // Some sources look for the local part as it is written.
    recipient: formatAddress(address),
    header: new Uint8Array(0),
    anew: true,
  })
  const answers = [here, ...prospect.resolution.answers.map((report) => answerOf(report, prospect))]
  const decision =
    here.outcome === "found" ? { use: here.source, why: `stored here for ${here.detail}` } : decisionOf(prospect)
  if (options.json) printJson({ address: addressKey(address), answers, ...keysOf(prospect), ...decision })
  else show(answers, prospect, decision)
}

function accountAnswer(people: Pick<People, "resolve">, address: Address): Answer {
  const meaning = people.resolve(address)
  const accounts = meaning.kind === "accounts" ? meaning.accounts : []
  const outcome = accounts.length > 0 ? "found" : "nothing"
  return { source: "account here", outcome, detail: accounts.join(", "), ms: 0 }
}

function answerOf(
  { source, outcome, ms, remarks }: Prospect["resolution"]["answers"][number],
  prospect: Prospect,
): Answer {
  const { keys, rejected } = prospect.resolution
  const found = [
    ...keys
      .filter((key) => key.source === source)
      .map(({ format, algorithm, fingerprint, place, expiresAt }) => {
        const until = expiresAt === null ? "" : ` until ${expiresAt.toISOString().slice(0, 10)}`
        return `${format} ${algorithm} ${fingerprint.slice(0, 16)}${until}, ${place}`
      }),
    ...rejected
      .filter(({ candidate }) => candidate.source === source)
      .map(({ candidate, because }) => `${candidate.format} not used: ${because}`),
  ]
  return { source, outcome: OUTCOMES[outcome], detail: [...found, ...remarks].join("; "), ms }
}

const OUTCOMES = { found: "found", none: "nothing", silent: "no answer", passed: "not for such addresses" } as const

function keysOf({ resolution }: Prospect) {
  return {
    keys: resolution.keys.map(({ format, source, trust, place, fingerprint, algorithm, expiresAt, wish }) => ({
      ...{ format, source, trust, place, fingerprint, algorithm, expiresAt, wish },
    })),
    rejected: resolution.rejected.map(({ candidate, because }) => {
      const { format, source, trust, place } = candidate
      return { format, source, trust, place, because }
    }),
    remembered: resolution.remembered,
  }
}

function decisionOf({ decision }: Prospect): {
  readonly use: string | null
  readonly decision: string
  readonly why: string
} {
  const use = decision.kind === "encrypt" ? decision.key.source : null
  return { use, decision: decision.kind, why: decision.because }
}

function show(
  answers: readonly Answer[],
  { resolution }: Prospect,
  decision: ReturnType<typeof decisionOf> | { use: string; why: string },
) {
  for (const { source, outcome, detail, ms } of answers)
    print(`${source}: ${outcome}${detail === "" ? "" : ` (${detail})`}, ${ms} ms`)
  for (const { format, lineage, source, lastSeen } of resolution.remembered)
    print(
      `remembered: ${format} ${lineage.slice(0, 16)} from ${source}, last seen ${lastSeen.toISOString().slice(0, 10)}`,
    )
  const what =
    decision.use === null ? ("decision" in decision ? MEANINGS[decision.decision] : null) : `would use: ${decision.use}`
  print(`${what ?? "would be sent"}; ${decision.why}`)
}

const MEANINGS: Readonly<Record<string, string>> = {
  tls: "would be sent over verified TLS, or not at all",
  send: "would be sent in clear",
  wait: "would wait for an answer",
  hold: "would be held",
  refuse: "would be refused",
}
