/** PURE. What a gateway tells the owner of an account that it is to send mail for over the Mesh. Nothing in it is secret. */
import { GatewayError } from "../errors.ts"
import { type Profile, verifyProfileDevice, verifyProfileService } from "../mesh/profile.ts"
import { formatJson, type JsonObject, parseJsonObject } from "./json.ts"

export interface MeshGateway {
  /** Where others reach its service: an https URL that ends with `/`. null: nowhere, and no profile says that it can be. */
  readonly address: string | null
  /** ProfileService, in its envelope. */
  readonly service: Uint8Array
  /** ProfileDevice of the device that is connected to accounts. */
  readonly device: Uint8Array
}

/** The profiles of a gateway, checked. */
export interface VerifiedGateway {
  readonly address: string | null
  readonly service: Profile
  readonly device: Profile
}

/** The file that goes to where the keyring is. */
export function formatMeshGateway(gateway: MeshGateway): string {
  return `${formatJson({ type: TYPE, version: VERSION, ...gateway }, 2)}\n`
}

/**
 * Reads what {@link formatMeshGateway} wrote.
 * @throws GatewayError REQUEST_INVALID; as {@link verifyMeshGateway}
 */
export function readMeshGateway(text: string): MeshGateway {
  if (text.length > MAX_OCTETS) throw invalid(`over ${MAX_OCTETS} octets`)
  const object = parseJsonObject(text, "gateway")
  object.word("type", [TYPE])
  if (object.number("version") !== VERSION) throw invalid("was written by another version of postern")
  const gateway = meshGatewayIn(object)
  verifyMeshGateway(gateway)
  return gateway
}

/** A gateway as a member of something else. @throws GatewayError REQUEST_INVALID */
export function meshGatewayIn(object: JsonObject): MeshGateway {
  const address = object.optional("address", (outer, name) => outer.text(name))
  if (address !== null && !isServiceAddress(address)) throw invalid("address is no https URL that ends with /")
  return { address, service: object.octets("service"), device: object.octets("device") }
}

/** @throws GatewayError as `verifyProfileService` */
export function verifyMeshGateway({ address, service, device }: MeshGateway): VerifiedGateway {
  return { address, service: verifyProfileService(service, null), device: verifyProfileDevice(device, null) }
}

/** Whether a service may be reached there: https, nothing behind the path, and everything of the service's below it. */
export function isServiceAddress(text: string): boolean {
  if (text.length > MAX_ADDRESS_CHARACTERS || !URL.canParse(text)) return false
  const { protocol, username, password, search, hash, href } = new URL(text)
  return protocol === "https:" && `${username}${password}${search}${hash}` === "" && href === text && text.endsWith("/")
}

function invalid(what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `gateway: ${what}`)
}

const TYPE = "postern-mesh-gateway"
const VERSION = 1
/** Two profiles have 8 KB. */
const MAX_OCTETS = 100_000
/** A host name has 253 at most. */
const MAX_ADDRESS_CHARACTERS = 512
