import type { KeyserverConfig } from "../config/config.ts"
import { keyserverIn } from "../config/keys.ts"
import { armor } from "../crypto/openpgp/armor.ts"
import { minimalCertificate, readCertificate } from "../crypto/openpgp/certificate.ts"
import { GatewayError } from "../errors.ts"
import { parseAddress } from "../message/address.ts"
import { dnsAddresses } from "../net/addresses.ts"
import { webClient } from "../net/web.ts"
import { type UploadStatus, uploadToVks } from "../profiles/sources/vks-upload.ts"
import { knownAccount } from "./account.ts"
import { type CommonOptions, type OpenInstance, openInstance, print, printJson } from "./shell.ts"

export interface PublishOptions extends CommonOptions {
  /** `vks://HOST[:PORT]`; those of keys.keyservers unless given. */
  readonly keyserver?: string
}

/** `postern profile publish`: brings an account's OpenPGP certificate, as WKD publishes it, to keyservers that verify addresses (VKS). */
export async function publish(written: string, options: PublishOptions): Promise<void> {
  using instance = openInstance(options)
  const account = knownAccount(instance.people.account(written), written)
  const key = account.keys.find(({ format, current }) => format === "openpgp" && current)
  if (key === undefined) throw new GatewayError("USAGE", `profile publish ${account.address}: has no OpenPGP key`)
  const binary = minimalCertificate(key.certificate)
  const fingerprint = Buffer.from(readCertificate(binary).fingerprint).toString("hex")
  const certificate = new TextDecoder().decode(armor(binary, "PUBLIC KEY BLOCK"))
  const ask = webClient({ resolve: dnsAddresses(instance.config.dns.servers), timeoutMs: TIMEOUT_MS })
  const published: { readonly keyserver: string; readonly status: UploadStatus }[] = []
  for (const { host, port } of keyserversOf(options, instance)) {
    const place = { host: port === null ? host : `${host}:${port}`, ask }
    const [address, signal] = [parseAddress(account.address), AbortSignal.timeout(2 * TIMEOUT_MS)]
    const status = await uploadToVks(place, address, { certificate, fingerprint }, signal)
    published.push({ keyserver: `vks://${place.host}`, status })
  }
  if (options.json) printJson({ address: account.address, fingerprint, published })
  else for (const { keyserver, status } of published) print(`${keyserver}: ${MEANINGS[status]}`)
}

/** @throws GatewayError USAGE */
function keyserversOf({ keyserver }: PublishOptions, { config }: OpenInstance): readonly KeyserverConfig[] {
  const named = keyserver === undefined ? config.keys.keyservers : [keyserverIn(keyserver)]
  const verifying = named.filter((one) => one?.protocol === "vks")
  if (verifying.length === 0)
    throw new GatewayError("USAGE", "profile publish: name a keyserver that verifies addresses: vks://HOST")
  return verifying.flatMap((one) => one ?? [])
}

const MEANINGS: Readonly<Record<UploadStatus, string>> = {
  published: "has this certificate, and gives it to who asks for the address",
  pending: "has this certificate, and writes to the address: who follows the link in that mail lets others find it",
  unpublished: "has this certificate, but has not written to the address: try again later",
  revoked: "says that this key was revoked for the address",
}
/** A person waits for the answer. */
const TIMEOUT_MS = 10_000
