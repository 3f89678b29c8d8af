import { resolve } from "node:path"
import { parseConfig } from "../config/load.ts"
import { decideAgain } from "../profiles/departure-facts.ts"
import type { PolicyRules } from "../profiles/policy.ts"
import { type Departure, KEPT_DAYS, KeptDepartures } from "../store/departures.ts"
import { readGivenText } from "./given-file.ts"
import { type CommonOptions, openInstance, print, printJson } from "./shell.ts"

export interface PreviewOptions extends CommonOptions {
  readonly days: number
}

/** How many messages were dealt with in one way and would be in another. */
interface Change {
  readonly was: string
  readonly would: string
  readonly messages: number
  /** Domains of their recipients with the number of messages, most first. */
  readonly domains: readonly (readonly [domain: string, messages: number])[]
}

interface Preview {
  readonly messages: number
  readonly same: number
  /** Most messages first. */
  readonly changes: readonly Change[]
}

/** `postern policy preview`: what the policy in another postern.toml would have done to the last days' mail. */
export function preview(file: string, options: PreviewOptions): void {
  using instance = openInstance(options)
  const { outgoing } = parseConfig(readGivenText(file, "USAGE"), resolve(file)).policy
  const since = new Date(Date.now() - options.days * 86_400e3)
  const found = previewOf(departuresSince(new KeptDepartures(instance.database), since), outgoing)
  if (options.json)
    printJson({
      since,
      ...found,
      changes: found.changes.map((one) => ({ ...one, domains: Object.fromEntries(one.domains) })),
    })
  else show(found, options.days)
}

function previewOf(departures: Iterable<Departure>, policy: PolicyRules): Preview {
  const tally = new Map<string, Map<string, number>>()
  let messages = 0
  let same = 0
  for (const departure of departures) {
    const would = decideAgain(departure, policy)
    messages += 1
    if (would === departure.decision) same += 1
    else count(tally, `${departure.decision} ${would}`, domainOf(departure.recipient))
  }
  return { messages, same, changes: changesIn(tally) }
}

/** In pages, so that memory does not grow with the days. */
function* departuresSince(kept: KeptDepartures, since: Date): Generator<Departure> {
  let last: Departure | null = null
  for (;;) {
    const page = kept.since(since, last, PAGE)
    yield* page
    last = page.at(-1) ?? null
    if (last === null) return
  }
}

function count(tally: Map<string, Map<string, number>>, change: string, domain: string): void {
  const domains = tally.get(change) ?? new Map<string, number>()
  tally.set(change, domains.set(domain, (domains.get(domain) ?? 0) + 1))
}

function changesIn(tally: ReadonlyMap<string, ReadonlyMap<string, number>>): readonly Change[] {
  return [...tally]
    .map(([change, counted]) => {
      const [was = "", would = ""] = change.split(" ")
      const domains = [...counted].toSorted(([, a], [, b]) => b - a)
      return { was, would, messages: domains.reduce((sum, [, messages]) => sum + messages, 0), domains }
    })
    .toSorted((a, b) => b.messages - a.messages)
}

function show({ messages, same, changes }: Preview, days: number): void {
  print(`the last ${days} days: ${messages} messages to other domains, ${same} as before`)
  for (const { was, would, messages: changed, domains } of changes) {
    const shown = domains.slice(0, SHOWN_DOMAINS).map(([domain, number]) => `${domain} ${number}`)
    const more = domains.length > SHOWN_DOMAINS ? `, and ${domains.length - SHOWN_DOMAINS} more` : ""
    print(`${changed} that ${PAST[was] ?? was} ${FUTURE[would] ?? would} (${shown.join(", ")}${more})`)
  }
}

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1)
}

const PAST: Readonly<Record<string, string>> = {
  encrypt: "were encrypted",
  tls: "were sent over verified TLS",
  send: "were sent in clear",
  wait: "waited for an answer",
  hold: "were held",
  refuse: "were refused",
}
const FUTURE: Readonly<Record<string, string>> = {
  encrypt: "would have been encrypted",
  tls: "would have been sent over verified TLS or not at all",
  send: "would have been sent in clear",
  wait: "would have waited for an answer",
  hold: "would have been held",
  refuse: "would have been refused",
  unknown: "cannot be told: rules look at subjects or fields that are not kept, or nobody was asked for keys then",
}
const PAGE = 1_000
const SHOWN_DOMAINS = 5
/** No more is kept. */
export const MAX_DAYS = KEPT_DAYS
