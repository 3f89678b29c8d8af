import type { Command } from "commander"
import { type MeshGateway, readMeshGateway } from "../identity/mesh-gateway.ts"
import { readGivenText } from "./given-file.ts"
import { type CommonOptions, type OpenInstance, openInstance } from "./shell.ts"

/** Options of commands that connect an account to a gateway of the Mesh. */
export interface GatewayOptions {
  readonly gateway?: string
  readonly offline?: string
}

/** Adds the option of such commands. */
export function withGatewayOption(command: Command): Command {
  return command.option("--gateway <file>", "what the server's postern account gateway has written, for --offline")
}

/** What an account is connected to: the gateway of this file, or this instance itself. null: neither is at hand. */
export function gatewayOf(options: GatewayOptions & CommonOptions): MeshGateway | null {
  if (options.gateway !== undefined) return readMeshGateway(readGivenText(options.gateway, "REQUEST_INVALID"))
  if (options.offline !== undefined) return null
  using instance = openInstance(options)
  return ownGateway(instance)
}

/** This instance, as accounts are connected to it. */
export function ownGateway({ config, meshHost }: OpenInstance): MeshGateway {
  const { service, device } = meshHost()
  return {
    address: config.mesh.service,
    service: service.profile.envelope,
    device: device.profile.envelope,
  }
}
