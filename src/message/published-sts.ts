import { sha256 } from "../crypto/primitives/hash.ts"

/** What the world is told of our mail exchanger (RFC 8461): TLS with a certificate of its name, or no mail. */
export interface PublishedSts {
  /** `testing`: whoever reports failures (RFC 8460) does, and delivers all the same. */
  readonly mode: "testing" | "enforce"
  /** The host name in MX records, an A-label. */
  readonly mx: string
}

/** The policy at `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` (RFC 8461 §3.2). */
export function stsPolicyText({ mode, mx }: PublishedSts): string {
  return ["version: STSv1", `mode: ${mode}`, `mx: ${mx}`, `max_age: ${MAX_AGE_SECONDS[mode]}`, ""].join("\r\n")
}

/** The TXT record at `_mta-sts.DOMAIN` (RFC 8461 §3.1). Its id is another one when the policy is. */
export function stsRecordText(published: PublishedSts): string {
  const id = Buffer.from(sha256(Buffer.from(stsPolicyText(published)))).toString("hex")
  return `v=STSv1; id=${id.slice(0, ID_CHARACTERS)};`
}

/** Senders keep to a policy for so long after it was taken back: four weeks, where it is known to work (RFC 8461 §3.2 wants weeks). */
const MAX_AGE_SECONDS: Readonly<Record<PublishedSts["mode"], number>> = { testing: 86_400, enforce: 2_419_200 }
/** RFC 8461 §3.1 allows 32. */
const ID_CHARACTERS = 24
