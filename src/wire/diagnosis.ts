import type { Diagnosis } from "../http/diagnosis.ts"
import { addressKey, formatAddress, parseAddress } from "../message/address.ts"
import type { Discovery } from "../profiles/discover.ts"
import { lookupView, policyView, subjectField } from "../profiles/prospect.ts"
import type { Core } from "./core.ts"
import { prospectBy } from "./prospect.ts"

/** What `postern profile lookup` and `postern policy test` say, asked by the sources that this process has open. */
export function diagnosisOf(
  core: Pick<Core, "config" | "people">,
  discovery: Pick<Discovery, "ask" | "resolve">,
): Diagnosis {
  return {
    async lookup(written, sender) {
      const address = parseAddress(written)
      const question = { sender, recipient: formatAddress(address), header: new Uint8Array(0), anew: true }
      return lookupView(core.people.resolve(address), await prospectBy(discovery, core, question))
    },
    async policy({ sender, recipients, subject }) {
      const header = subject === null ? new Uint8Array(0) : Buffer.concat([subjectField(subject), Buffer.from("\r\n")])
      const views = recipients.map(async (written) => {
        const recipient = addressKey(parseAddress(written))
        return policyView(recipient, await prospectBy(discovery, core, { sender, recipient, header, anew: false }))
      })
      return { sender, recipients: await Promise.all(views) }
    },
  }
}
