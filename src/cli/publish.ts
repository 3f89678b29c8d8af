import type { KeyserverConfig } from "../config/config.ts"
import { keyserverIn } from "../config/keys.ts"
import { armor } from "../crypto/openpgp/armor.ts"
import { minimalCertificate, readCertificate } from "../crypto/openpgp/certificate.ts"
import { GatewayError } from "../errors.ts"
import { parseAddress } from "../message/address.ts"
import { dnsAddresses } from "../net/addresses.ts"
import { webClient } from "../net/web.ts"
import { type UploadStatus, uploadToVks } from "../profiles/sources/vks-upload.ts"
import { isPending, type KeptRequest, KeyserverRequests } from "../store/keyserver-requests.ts"
import type { Account } from "../store/people.ts"
import { knownAccount } from "./change.ts"
import { type CommonOptions, type OpenInstance, openInstance, print, printJson } from "./shell.ts"

export interface PublishOptions extends CommonOptions {
  /** `vks://HOST[:PORT]`; those of keys.keyservers unless given. */
  readonly keyserver?: string
  /** Only tell what became of what was brought. */
  readonly status: boolean
}

/** `postern profile publish`: brings an account's OpenPGP certificate, as WKD publishes it, to keyservers that verify addresses (VKS). */
export async function publish(written: string, options: PublishOptions): Promise<void> {
  using instance = openInstance(options)
  const account = knownAccount(instance.people.account(written), written)
  const requests = new KeyserverRequests(instance.database)
  if (options.status) {
    tell(account, requests.of(account.address), new Date(), options)
    return
  }
  const brought = certificateOf(account)
  const published: { readonly keyserver: string; readonly status: UploadStatus }[] = []
  for (const host of keyserversOf(options, instance))
    published.push({ keyserver: `vks://${host}`, status: await bring(host, account, brought, requests, instance) })
  if (options.json) printJson({ address: account.address, fingerprint: brought.fingerprint, published })
  else for (const { keyserver, status } of published) print(`${keyserver}: ${MEANINGS[status]}`)
}

/** A certificate as keyservers are given it. */
interface Brought {
  /** ASCII armor. */
  readonly certificate: string
  /** Lower case hexadecimal. */
  readonly fingerprint: string
}

function certificateOf({ address, keys }: Account): Brought {
  const key = keys.find(({ format, current }) => format === "openpgp" && current)
  if (key === undefined) throw new GatewayError("USAGE", `profile publish ${address}: has no OpenPGP key`)
  const binary = minimalCertificate(key.certificate)
  return {
    certificate: new TextDecoder().decode(armor(binary, "PUBLIC KEY BLOCK")),
    fingerprint: Buffer.from(readCertificate(binary).fingerprint).toString("hex"),
  }
}

/** What is asked of the keyserver is noted before, so that its mail is known when it comes. */
async function bring(
  host: string,
  { address }: Account,
  brought: Brought,
  requests: KeyserverRequests,
  { config }: OpenInstance,
): Promise<UploadStatus> {
  const ask = webClient({ resolve: dnsAddresses(config.dns.servers), timeoutMs: TIMEOUT_MS })
  const request = { address, host, fingerprint: brought.fingerprint }
  const signal = AbortSignal.timeout(2 * TIMEOUT_MS)
  const status = await uploadToVks({ host, ask }, parseAddress(address), brought, signal, () =>
    requests.ask(request, new Date()),
  )
  if (status === "published") requests.ask(request, new Date())
  if (status !== "pending") requests.settle(request, status === "published" ? null : MEANINGS[status], new Date())
  return status
}

/** @returns "host" or "host:port" of each. @throws GatewayError USAGE */
function keyserversOf({ keyserver }: PublishOptions, { config }: OpenInstance): readonly string[] {
  const named = keyserver === undefined ? config.keys.keyservers : [keyserverIn(keyserver)]
  const verifying = named.filter((one) => one?.protocol === "vks")
  if (verifying.length === 0)
    throw new GatewayError(
      "USAGE",
      "profile publish: name a keyserver that verifies addresses: --keyserver vks://HOST, or keys.keyservers",
    )
  return verifying.flatMap((one) => (one === null ? [] : [placeOf(one)]))
}

function placeOf({ host, port }: KeyserverConfig): string {
  return port === null ? host : `${host}:${port}`
}

function tell(
  { address }: Account,
  kept: readonly KeptRequest[],
  now: Date,
  { json = false }: Pick<PublishOptions, "json">,
): void {
  const requests = kept.map(({ host, fingerprint, state, because, askedAt, changedAt }) => ({
    keyserver: `vks://${host}`,
    fingerprint,
    state: state === "asked" && !isPending({ state, askedAt }, now) ? ("unanswered" as const) : state,
    because,
    askedAt: askedAt.toISOString(),
    changedAt: changedAt.toISOString(),
  }))
  if (json) printJson({ address, requests })
  else if (requests.length === 0) print(`${address}: no keyserver was asked`)
  else
    for (const { keyserver, fingerprint, state, because, changedAt } of requests)
      print(`${keyserver}: ${fingerprint}: ${STATES[state]}${because === "" ? "" : `: ${because}`} (${changedAt})`)
}

const MEANINGS: Readonly<Record<UploadStatus, string>> = {
  published: "has this certificate, and gives it to who asks for the address",
  pending:
    "has this certificate, and writes to the address: others find it once that mail is answered, which this gateway does when it arrives (--status tells)",
  unpublished: "has this certificate, but has not written to the address: try again later",
  revoked: "says that this key was revoked for the address",
}
const STATES: Readonly<Record<KeptRequest["state"] | "unanswered", string>> = {
  asked: "was asked; its mail has not come yet",
  unanswered:
    "was asked; its mail has not come, or was not fit to be answered by itself: follow its link, or ask again",
  followed: "its mail was answered, but nobody knows what came of that: look it up, or ask again",
  published: "gives the certificate to who asks for the address",
  failed: "does not publish it",
}
/** A person waits for the answer. */
const TIMEOUT_MS = 10_000
