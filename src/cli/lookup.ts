import { formatAddress, parseAddress } from "../message/address.ts"
import { type LookupView, lookupView, standInText } from "../profiles/prospect.ts"
import { type Instance, print, printJson, type Shell } from "./shell.ts"

export interface LookupOptions {
  readonly json?: boolean
  /** Who would write; null: somebody. */
  readonly from?: string
}

/** `postern profile lookup`: what every source says of an address now, and what would become of mail to it. */
export async function lookup(written: string, instance: Instance, options: LookupOptions, shell: Shell): Promise<void> {
  const address = parseAddress(written)
  const prospect = await shell.starters.prospect(instance, {
    sender: options.from ?? null,
    // Some sources look for the local part as it is written.
    recipient: formatAddress(address),
    header: new Uint8Array(0),
    anew: true,
  })
  const view = lookupView(instance.people.resolve(address), prospect)
  if (options.json) printJson(view)
  else show(view)
}

function show({ answers, remembered, use, decision, why, standIn = null }: LookupView) {
  for (const { source, outcome, detail, ms } of answers)
    print(`${source}: ${outcome}${detail === "" ? "" : ` (${detail})`}, ${ms} ms`)
  for (const { format, lineage, source, lastSeen } of remembered)
    print(
      `remembered: ${format} ${lineage.slice(0, 16)} from ${source}, last seen ${lastSeen.toISOString().slice(0, 10)}`,
    )
  const what = use === null ? decision && MEANINGS[decision] : `would use: ${use}`
  print(`${what ?? "would be sent"}; ${why}`)
  const offered = standInText(standIn)
  if (offered !== null) print(offered)
}

const MEANINGS: Readonly<Record<string, string>> = {
  tls: "would be sent over verified TLS, or not at all",
  send: "would be sent in clear",
  wait: "would wait for an answer",
  hold: "would be held",
  refuse: "would be refused",
}
