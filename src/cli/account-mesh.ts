import { resolve } from "node:path"
import type { Command } from "commander"
import { GatewayError } from "../errors.ts"
import { connectAccount } from "../identity/account.ts"
import { formatMeshGateway, verifyMeshGateway } from "../identity/mesh-gateway.ts"
import type { Person } from "../identity/person.ts"
import { verifyConnectionDevice } from "../mesh/connection.ts"
import { verifyProfileUser } from "../mesh/profile.ts"
import { writeDurably } from "../store/durable.ts"
import type { MeshAccount } from "../store/mesh-accounts.ts"
import { changed } from "./change.ts"
import { type KeyringOptions, withKeyringOptions } from "./keyring.ts"
import { type GatewayOptions, gatewayOf, ownGateway, withGatewayOption } from "./mesh-gateway.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson } from "./shell.ts"
import { printOffline } from "./submit.ts"

/** `postern account mesh` and `postern account gateway`. */
export function registerMesh(account: Command): void {
  withGatewayOption(withKeyringOptions(account.command("mesh <address>")))
    .description(
      "Give an account its part in the Mesh: a profile, and this gateway as its service and as a device that sends mail for it.",
    )
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => connect(address, optionsOf(command)))
  account
    .command("gateway <file>")
    .description(
      "Write what this gateway is in the Mesh to a file, for --gateway where the keyring is. Nothing in it is secret.",
    )
    .option("--json", "one JSON value on stdout")
    .action((file: string, _options: unknown, command: Command) => describe(file, optionsOf(command)))
}

async function connect(written: string, options: CommonOptions & KeyringOptions & GatewayOptions): Promise<void> {
  const gateway = gatewayOf(options)
  if (gateway === null) throw new GatewayError("USAGE", "account mesh: --offline needs --gateway")
  const { person } = await changed(written, options, (before, making) => connectAccount(before, gateway, making))
  const udf = udfOf(person)
  if (options.json) {
    printJson({ address: person.address, mesh: udf, service: gateway.address })
    return
  }
  print(`account ${person.address}: ${udf} in the Mesh`)
  print(
    gateway.address === null
      ? "its gateway has no service (mesh.service): no profile lists one"
      : `service: ${gateway.address}`,
  )
  printOffline(options)
}

function describe(file: string, options: CommonOptions): void {
  using instance = openInstance(options)
  const gateway = ownGateway(instance)
  writeDurably(resolve(file), new TextEncoder().encode(formatMeshGateway(gateway)))
  const { address, service, device } = verifyMeshGateway(gateway)
  if (options.json) printJson({ file, address, service: service.udf, device: device.udf })
  else print(`wrote ${file}: service ${service.udf} at ${address ?? "no address (mesh.service)"}, device ${device.udf}`)
}

/** The UDF of a person's account; null without a part in the Mesh. */
export function udfOf({ mesh }: Person): string | null {
  return mesh === null ? null : verifyProfileUser(mesh.profile, null).udf
}

/** An account's part in the Mesh as `--json` shows it. */
export function meshView(account: MeshAccount | null) {
  if (account === null) return null
  // What is shown may be over: when, is what it is shown for.
  const { keys } = verifyConnectionDevice(account.connection, account.profile, new Date(0))
  return {
    udf: account.udf,
    service: account.profile.serviceUdf,
    connectedUntil: keys.signature.notOnOrAfter?.toISOString() ?? null,
  }
}
