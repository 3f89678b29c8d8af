import type { Command } from "commander"
import { applyRequest } from "../identity/apply.ts"
import type { Change } from "../identity/requests.ts"
import { confirmChange } from "./confirm.ts"
import { readGivenText } from "./given-file.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson } from "./shell.ts"

/** `postern accept`. */
export function registerAccept(program: Command): void {
  program
    .command("accept <file>")
    .description("Apply a signed request that was made with --offline where the keyring is.")
    .option("--fingerprint <udf>", "accept only what this personal root signed")
    .option("--json", "one JSON value on stdout")
    .action((file: string, _options: unknown, command: Command) => accept(file, optionsOf(command)))
}

async function accept(file: string, options: CommonOptions & { readonly fingerprint?: string }): Promise<void> {
  using instance = openInstance(options)
  const { request, fingerprint } = applyRequest(
    instance,
    readGivenText(file, "REQUEST_INVALID"),
    new Date(),
    options.fingerprint ?? null,
  )
  const { kind } = request.change
  if (CONFIRMED.includes(kind)) await confirmChange(instance)
  const madeAt = request.madeAt.toISOString()
  if (options.json) {
    printJson({ kind, address: request.address, fingerprint, madeAt })
    return
  }
  print(`${kind} of ${request.address}, made ${madeAt}: applied`)
  print(`signed by the personal root ${fingerprint}`)
  if (kind === "account-add") print("compare this fingerprint with the one its owner was shown")
}

/** What takes something back counts when every running process knows it. */
const CONFIRMED: readonly Change["kind"][] = ["device-revoke", "account-remove", "account-mesh-leave"]
