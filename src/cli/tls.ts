import { setTimeout } from "node:timers/promises"
import type { Command } from "commander"
import type { Config } from "../config/config.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { type AcmeStatus, acmeStatus, isRenewalRequested, requestRenewal, takeRenewalRequest } from "../store/acme.ts"
import { lastAttempt, serverCertificateView, viewLines } from "./acme-view.ts"
import { type CommonOptions, configOf, optionsOf, print, printJson, type Shell } from "./shell.ts"

/** A server looks for requests once a second; one that is busy with an order takes it up behind that. */
const TAKE_UP_MS = 15_000
/** An order takes seconds. A CA that takes its time for many names is still answered in the log and by "tls show". */
const ANSWER_MS = 600_000
const LOOK_MS = 100

/** `postern tls`. */
export function registerTls(program: Command, shell: Shell): void {
  const tls = program.command("tls").description("The server's own certificate, and the CA it comes from ([tls.acme]).")
  tls
    .command("renew")
    .description("Have the running server ask the CA for a new certificate now; exit code 1 when there is none.")
    .option("--json", "one JSON value on stdout")
    .action(async (_options: unknown, command: Command) => {
      const options = optionsOf(command)
      if (!(await renew(options))) shell.exitWith(1)
    })
  tls
    .command("show")
    .description("The certificate that listeners show, and what the CA said last.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => {
      if (!show(optionsOf(command))) shell.exitWith(1)
    })
}

/** @returns false: there is none that could be shown */
function show(options: CommonOptions): boolean {
  const view = serverCertificateView(configOf(options))
  if (options.json) printJson(view)
  else for (const line of viewLines(view)) print(line)
  return view.notAfter !== null
}

/** @returns true when a certificate was issued */
async function renew(options: CommonOptions): Promise<boolean> {
  const config = configOf(options)
  if (config.tls.acme === null)
    throw new GatewayError("CONFIG_INVALID", `${config.file}: tls.acme is missing: there is no CA to ask`)
  const askedAt = new Date()
  const { request: _, ...status } = await answerTo(config)
  // The CA had said when it may be asked again: the status is that of the attempt before.
  const asked = new Date(status.at) >= askedAt
  if (options.json) printJson({ asked, ...status })
  else if (asked) print(`certificate for ${status.names.join(", ")}: ${lastAttempt(status)}`)
  else print(`not asked: the CA wants no request before ${status.retryAt}; ${lastAttempt(status)}`)
  return asked && status.outcome === "issued"
}

/** @throws GatewayError NOT_CONFIRMED when no server takes the request up, or it gives no answer */
async function answerTo(config: Config): Promise<AcmeStatus> {
  const id = Buffer.from(randomOctets(12)).toString("hex")
  requestRenewal(config, id)
  await until(() => !isRenewalRequested(config), TAKE_UP_MS)
  if (isRenewalRequested(config)) {
    takeRenewalRequest(config)
    throw new GatewayError(
      "NOT_CONFIRMED",
      "no server with the role http took the request up: none runs (it asks when it starts), or it is asking already",
    )
  }
  const answered = (): AcmeStatus | null => {
    const status = acmeStatus(config)
    return status?.request === id ? status : null
  }
  await until(() => answered() !== null, ANSWER_MS)
  const status = answered()
  if (status === null) throw new GatewayError("NOT_CONFIRMED", "the server gave no answer; its log tells more (acme.…)")
  return status
}

/** Looks until it is so, or the time is over. */
async function until(isSo: () => boolean, deadlineMs: number): Promise<void> {
  const end = Date.now() + deadlineMs
  while (!isSo() && Date.now() < end) await setTimeout(LOOK_MS)
}
