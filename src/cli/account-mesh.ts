import { resolve } from "node:path"
import type { Command } from "commander"
import { GatewayError } from "../errors.ts"
import { connectAccount, leaveMesh } from "../identity/account.ts"
import { formatMeshGateway, verifyMeshGateway } from "../identity/mesh-gateway.ts"
import type { Person } from "../identity/person.ts"
import { verifyConnectionDevice } from "../mesh/connection.ts"
import { verifyProfileUser } from "../mesh/profile.ts"
import { writeDurably } from "../store/durable.ts"
import type { MeshAccount, PublishedAccount } from "../store/mesh-accounts.ts"
import { changed } from "./change.ts"
import { confirmChange } from "./confirm.ts"
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
    .option(
      "--leave",
      "end that: its mail goes by SMTP, as its published profile says from now on; its name in the Mesh stays",
    )
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => {
      const options: MeshOptions = optionsOf(command)
      return options.leave === true ? leave(address, options) : connect(address, options)
    })
  account
    .command("gateway <file>")
    .description(
      "Write what this gateway is in the Mesh to a file, for --gateway where the keyring is. Nothing in it is secret.",
    )
    .option("--json", "one JSON value on stdout")
    .action((file: string, _options: unknown, command: Command) => describe(file, optionsOf(command)))
}

type MeshOptions = CommonOptions & KeyringOptions & GatewayOptions & { readonly leave?: boolean }

async function leave(written: string, options: MeshOptions): Promise<void> {
  if (options.gateway !== undefined) throw new GatewayError("USAGE", "account mesh: --leave names no --gateway")
  const { person } = await changed(written, options, leaveMesh)
  if (options.offline === undefined) {
    using instance = openInstance(options)
    await confirmChange(instance)
  }
  const udf = udfOf(person)
  if (options.json) {
    printJson({ address: person.address, mesh: udf, service: null })
    return
  }
  print(`account ${person.address}: ${udf} has left the Mesh; its mail goes by SMTP`)
  printOffline(options)
}

async function connect(written: string, options: MeshOptions): Promise<void> {
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

/** The UDF of a person's account; null: it never had a part in the Mesh. */
export function udfOf({ mesh }: Person): string | null {
  return mesh === null ? null : verifyProfileUser(mesh.profile, null).udf
}

/** An account's part in the Mesh as `--json` shows it; without a service it has left. */
export function meshView(account: PublishedAccount | MeshAccount | null) {
  if (account === null) return null
  if (!("connection" in account)) return { udf: account.udf, service: null, connectedUntil: null }
  // What is shown may be over: when, is what it is shown for.
  const { keys } = verifyConnectionDevice(account.connection, account.profile, new Date(0))
  return {
    udf: account.udf,
    service: account.profile.serviceUdf,
    connectedUntil: keys.signature.notOnOrAfter?.toISOString() ?? null,
  }
}

/** The same for people. */
export function meshText({ udf, service, connectedUntil }: NonNullable<ReturnType<typeof meshView>>): string {
  return service === null ? `${udf}, has left` : `${udf}; this gateway sends for it until ${connectedUntil}`
}
