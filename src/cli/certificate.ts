import { type Command, Option } from "commander"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { cmsRecipient } from "../crypto/cms/recipient.ts"
import { readCertificate as readOpenPgpCertificate } from "../crypto/openpgp/certificate.ts"
import { verifiedCertificate } from "../crypto/openpgp/recipient.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { mailAddress } from "../profiles/usable/openpgp.ts"
import type { Format } from "../store/people.ts"
import { type PinnedCertificate, PinnedCertificates } from "../store/pinned-certificates.ts"
import { readGiven } from "./given-file.ts"
import { type CommonOptions, openInstance, optionsOf, print, printJson, warn } from "./shell.ts"

/** `postern certificate`. */
export function registerCertificate(program: Command): void {
  const certificate = program.command("certificate").description("Certificates of other people that you vouch for.")
  certificate
    .command("add <address> <file>")
    .description(
      "Encrypt mail for this address to the certificate in the file: X.509 (PEM, DER) or OpenPGP (armored, binary). *@DOMAIN is everybody of a domain whose gateway opens their mail.",
    )
    .option("--json", "one JSON value on stdout")
    .action((address: string, file: string, _options: unknown, command: Command) =>
      add(address, file, optionsOf(command)),
    )
  certificate
    .command("list [address]")
    .description("Certificates that were added, newest first.")
    .option("--json", "one JSON value on stdout")
    .action((address: string | undefined, _options: unknown, command: Command) => list(address, optionsOf(command)))
  certificate
    .command("remove <address>")
    .description("Vouch no longer for the certificates of this address.")
    .addOption(new Option("--format <format>", "of this format only").choices(["smime", "openpgp"]))
    .option("--json", "one JSON value on stdout")
    .action((address: string, _options: unknown, command: Command) => remove(address, optionsOf(command)))
}

interface Pinnable {
  readonly format: Format
  readonly certificate: Uint8Array
  /** Addresses it says it is of. */
  readonly addresses: readonly string[]
}

async function add(written: string, file: string, options: CommonOptions): Promise<void> {
  const now = new Date()
  const address = addressKey(parseAddress(written))
  const found = await readPinnable(file, now)
  const isForDomain = address.startsWith("*@")
  if (!isForDomain && !found.addresses.some((other) => other.toLowerCase() === address.toLowerCase()))
    warn(`${file}: this certificate does not name ${address} but ${found.addresses.join(", ") || "nobody"}`)
  using instance = openInstance(options)
  new PinnedCertificates(instance.database).add(address, found.format, found.certificate, now)
  if (options.json) {
    printJson({ address, format: found.format, addresses: found.addresses })
    return
  }
  print(`certificate for ${address}: pinned, ${found.format}`)
}

function list(written: string | undefined, options: CommonOptions): void {
  using instance = openInstance(options)
  const pins = new PinnedCertificates(instance.database)
  const shown = (written === undefined ? pins.all() : pins.of(addressKey(parseAddress(written)))).map(viewOf)
  if (options.json) {
    printJson(shown)
    return
  }
  if (shown.length === 0) print("no certificates were added")
  for (const { address, format, fingerprint, notAfter, addedAt } of shown)
    print(
      `${address}\t${format}\t${fingerprint}\tadded ${addedAt}\t${notAfter === null ? "" : `until ${notAfter}`}`.trimEnd(),
    )
}

function viewOf({ address, format, certificate, addedAt }: PinnedCertificate) {
  const { fingerprint, notAfter } = format === "smime" ? x509Facts(certificate) : openPgpFacts(certificate)
  return {
    address,
    format,
    fingerprint: Buffer.from(fingerprint).toString("hex"),
    notAfter: notAfter?.toISOString() ?? null,
    addedAt: addedAt.toISOString(),
  }
}

/** As `openssl x509 -fingerprint -sha256` shows it. */
function x509Facts(der: Uint8Array): Facts {
  return { fingerprint: sha256(der), notAfter: readCertificate(der).notAfter }
}

function openPgpFacts(binary: Uint8Array): Facts {
  const { fingerprint, expiresAt } = readOpenPgpCertificate(binary)
  return { fingerprint, notAfter: expiresAt }
}

interface Facts {
  readonly fingerprint: Uint8Array
  /** null: never. */
  readonly notAfter: Date | null
}

function remove(written: string, options: CommonOptions & { readonly format?: Format }): void {
  using instance = openInstance(options)
  const address = addressKey(parseAddress(written))
  const removed = new PinnedCertificates(instance.database).remove(address, options.format ?? null)
  if (removed === 0) throw new GatewayError("CERTIFICATE_UNKNOWN", `certificate for ${address}: none was added`)
  if (options.json) {
    printJson({ address, removed })
    return
  }
  print(`certificate for ${address}: ${removed} removed`)
  print(
    `mail that was encrypted to it before is held where no other key is found, until: postern profile forget ${address}`,
  )
}

/** @throws GatewayError naming the file, for a certificate that nothing could be encrypted to as well */
async function readPinnable(file: string, now: Date): Promise<Pinnable> {
  const octets = readGiven(file, "CERTIFICATE_INVALID")
  try {
    const pem = pemDecode("CERTIFICATE", new TextDecoder("latin1").decode(octets))[0]
    return pem !== undefined || octets[0] === 0x30 ? x509(pem ?? octets, now) : await openPgp(octets, now)
  } catch (cause) {
    if (!(cause instanceof GatewayError)) throw cause
    throw new GatewayError(cause.code, `${file}: no certificate to encrypt to: ${cause.message}`, { cause })
  }
}

/** Learned now rather than from mail that cannot be sent. */
function x509(der: Uint8Array, now: Date): Pinnable {
  const certificate = readCertificate(der)
  cmsRecipient(certificate)
  if (!certificate.mayEncrypt) throw new GatewayError("CERTIFICATE_UNSUPPORTED", "its key usage allows no encryption")
  if (certificate.notAfter.getTime() <= now.getTime())
    throw new GatewayError("CERTIFICATE_INVALID", `expired on ${certificate.notAfter.toISOString().slice(0, 10)}`)
  return { format: "smime", certificate: certificate.der, addresses: certificate.emailAddresses }
}

/** Its own signatures are checked here, once: what is kept is believed from then on. */
async function openPgp(octets: Uint8Array, now: Date): Promise<Pinnable> {
  const certificate = readOpenPgpCertificate(await verifiedCertificate(octets, now))
  const addresses = certificate.userIds.map(mailAddress)
  return { format: "openpgp", certificate: certificate.binary, addresses }
}
