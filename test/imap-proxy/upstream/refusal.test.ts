import { expect, test } from "vitest"
import { type ErrorCode, GatewayError } from "../../../src/errors.ts"
import { BareClient } from "../client.ts"
import { ACCOUNT, PHONE, startRig } from "../rig.ts"

const rows: readonly (readonly [code: ErrorCode | null, want: RegExp])[] = [
  ["UPSTREAM_UNAVAILABLE", /NO \[UNAVAILABLE\] mail store is away/],
  ["UPSTREAM_LIMIT", /NO \[LIMIT\] too many connections/],
  ["UPSTREAM_REFUSED", /NO \[CONTACTADMIN\] .* your password is right/],
  ["UPSTREAM_CONSENT", /NO \[CONTACTADMIN\] the owner of this mailbox must allow access to it again/],
  ["STATE_CORRUPT", /NO \[CONTACTADMIN\]/],
  ["PROTOCOL", /NO \[UNAVAILABLE\]/],
  [null, /NO \[UNAVAILABLE\]/],
]

test("a device with the right password is never asked for it again, and hears nothing of the upstream's words", async () => {
  let [code] = rows[0] ?? [null]
  const connect = async (): Promise<never> => {
    throw code === null ? new Error("words of the upstream") : new GatewayError(code, "words of the upstream")
  }
  await using rig = await startRig({ upstream: { connect } })
  await using client = await BareClient.secure(rig)
  for (const [thrown, want] of rows) {
    code = thrown
    const answer = await client.command(`LOGIN ${ACCOUNT} ${PHONE}`)
    expect(answer).toMatch(want)
    expect(answer).not.toMatch(/AUTHENTICATIONFAILED|words/)
  }
  await client.ok("NOOP")
})
