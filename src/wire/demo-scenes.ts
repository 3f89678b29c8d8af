import { readdirSync, readFileSync } from "node:fs"
import { join, relative } from "node:path"
import type { Config } from "../config/config.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { openEnveloped } from "../crypto/cms/open.ts"
import { dearmor } from "../crypto/openpgp/armor.ts"
import { readCertificate as readOpenPgp } from "../crypto/openpgp/certificate.ts"
import { openOpenPgp } from "../crypto/openpgp/open.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { headerEnd } from "../mime/header.ts"
import { openState } from "../store/state.ts"
import { DemoMailClient } from "./demo-imap.ts"
import type { Sample } from "./demo-mail.ts"
import { DESKTOP, type DemoDevice, type DemoPeople, LAPTOP, PHONE } from "./demo-people.ts"
import type { Screen } from "./demo-screen.ts"

/** Patience with our own delivery. */
const DELIVERY_MS = 15_000

/** What lies in the mailbox: public header fields, and ciphertext. */
export async function showDisk(config: Config, [sample]: readonly Sample[], screen: Screen): Promise<void> {
  screen.scene("What lies on the disk")
  if (!sample) return
  const path = await screen.step("delivered: encrypted to the account, written, fsynced", () =>
    storedFile(config, sample),
  )
  const octets = readFileSync(path)
  screen.note(`${relative(process.cwd(), path)}, ${octets.length} octets`)
  const end = headerEnd(octets) ?? 0
  const header = octets.subarray(0, end).toString("latin1").trimEnd()
  screen.quote(
    `${header}\n\n${octets
      .subarray(end, end + 156)
      .toString("latin1")
      .trimEnd()}\n[...]`,
  )
  screen.note(`"${sample.line}" ${octets.includes(sample.line) ? "STANDS IN IT IN CLEAR" : "is nowhere in it"}`)
}

/** Each device fetches the same message over IMAP and opens it with its own key. */
export async function showDevices(
  people: DemoPeople,
  config: Config,
  sent: readonly Sample[],
  screen: Screen,
): Promise<void> {
  screen.scene("What each device sees: the proxy recrypts the same stored message for each, and can open none")
  for (const [device, sample] of [
    [LAPTOP, sent[0]],
    [PHONE, sent[0]],
    [DESKTOP, sent[2]],
  ] as const) {
    if (!sample) continue
    await storedFile(config, sample)
    const octets = await fetchFor(people, config, device, sample)
    const text = octets && (await openFor(people, config, device, octets))
    if (text?.includes(sample.line)) screen.good(`${device.address} on ${device.name} reads: "${sample.line}"`)
    else screen.bad(`${device.address} on ${device.name} reads nothing`)
  }
  const [sample] = sent
  const forLaptop = sample && (await fetchFor(people, config, LAPTOP, sample))
  if (!forLaptop) return
  const crossed = await openFor(people, config, PHONE, forLaptop)
  screen.bad(`the phone's key ${crossed === null ? "does not open" : "OPENS"} what was recrypted for the laptop`)
}

/** Revoking is deleting one number: the phone is out, everybody else and every stored octet stay as they are. */
export async function showRevocation(
  people: DemoPeople,
  config: Config,
  [sample]: readonly Sample[],
  screen: Screen,
): Promise<void> {
  screen.scene("The phone is lost")
  if (!sample) return
  const path = await storedFile(config, sample)
  const before = Buffer.from(sha256(readFileSync(path))).toString("hex")
  using phone = await login(people, config, PHONE)
  await phone.command("NOOP")
  await people.revoke(PHONE)
  screen.bad(`the phone's open connection: ${await refusal(() => phone.command("NOOP"))}`)
  screen.bad(`the phone's password: ${await refusal(() => login(people, config, PHONE))}`)
  const still = await fetchFor(people, config, LAPTOP, sample)
  const text = still && (await openFor(people, config, LAPTOP, still))
  screen.good(`the laptop still reads: "${text?.includes(sample.line) ? sample.line : "NOTHING"}"`)
  const after = Buffer.from(sha256(readFileSync(await storedFile(config, sample)))).toString("hex")
  screen.good(
    `the stored message is ${before === after ? "the same, octet for octet" : "CHANGED"} (SHA-256 ${after.slice(0, 16)}...)`,
  )
}

/** What to type into Thunderbird or Outlook. */
export function showSettings(people: DemoPeople, config: Config, screen: Screen): void {
  screen.scene("Connect a mail client")
  const settings = people.settings(LAPTOP)
  const folder = people.pathOf(LAPTOP)
  screen.line(`   user name  ${settings.username}`)
  screen.line(`   password   ${settings.password}`)
  screen.line(`   IMAP       localhost, port ${config.listen.imaps?.port}, SSL/TLS, normal password`)
  screen.line(`   SMTP       localhost, port ${config.listen.submissions?.port}, SSL/TLS, normal password`)
  screen.line(`   authority  var/tls/ca.pem (this server; trust it for web sites and mail servers)`)
  screen.line(`   root       ${join(folder, settings.files.root)} (Alice's own; trust it for e-mail)`)
  screen.line(`   key        ${join(folder, settings.files.pkcs12 ?? "")}, password ${settings.pkcs12Password}`)
  screen.note("docs/CLIENTS.md says where to click. Bob's OpenPGP device is in var/devices/bob@example.test.")
  screen.note(`Send mail to it:  swaks --server 127.0.0.1:${config.listen.mx?.port} --to alice@example.test`)
  screen.line("")
  screen.line("   Running until Ctrl-C.")
}

async function fetchFor(
  people: DemoPeople,
  config: Config,
  device: DemoDevice,
  sample: Sample,
): Promise<Uint8Array | null> {
  using client = await login(people, config, device)
  return await client.message(sample.messageId)
}

function login(people: DemoPeople, config: Config, device: DemoDevice): Promise<DemoMailClient> {
  const authority = readFileSync(join(people.folder, "tls", "ca.pem"), "utf8")
  return DemoMailClient.login(people.settings(device), config.listen.imaps?.port ?? 993, authority)
}

/** Opens a message with a device's own key, as its mail client would. @returns null when the key does not open it */
async function openFor(
  people: DemoPeople,
  config: Config,
  device: DemoDevice,
  octets: Uint8Array,
): Promise<string | null> {
  const secrets = await people.secretsOf(device)
  try {
    const armored = dearmor(octets)
    if (armored)
      return textOf(await openOpenPgp(armored.binary, openPgpKey(config, device, secrets.openpgp?.scalars ?? [])))
    if (!secrets.decryption) return null
    const body = Buffer.from(octets.subarray(headerEnd(octets) ?? 0)).toString("latin1")
    const { identity } = readCertificate(secrets.decryption.certificate)
    return textOf(openEnveloped(Buffer.from(body, "base64"), { identity, scalar: secrets.decryption.scalar }))
  } catch (error) {
    if (error instanceof GatewayError && error.code === "DECRYPTION_FAILED") return null
    throw error
  }
}

/** A device has the account's certificate, and scalars of its own. */
function openPgpKey(
  config: Config,
  device: DemoDevice,
  scalars: readonly { readonly keyId: string; readonly scalar: Uint8Array }[],
) {
  const database = openState(config)
  try {
    const row = database.sql
      .get`SELECT certificate FROM account_key WHERE account = ${device.address} AND format = 'openpgp' AND current = 1`
    const { encryption } = readOpenPgp(
      row?.["certificate"] instanceof Uint8Array ? row["certificate"] : new Uint8Array(0),
    )
    const scalar = scalars.at(-1)?.scalar
    if (!encryption || !scalar) throw new GatewayError("DEVICE_UNKNOWN", `device ${device.name}: has no OpenPGP key`)
    return { encryption, scalar }
  } finally {
    database.close()
  }
}

function textOf(octets: Uint8Array | null): string | null {
  return octets === null ? null : Buffer.from(octets).toString("utf8")
}

async function refusal(attempt: () => Promise<unknown>): Promise<string> {
  try {
    await attempt()
    return "STILL WORKS"
  } catch (error) {
    return error instanceof GatewayError ? error.message : String(error)
  }
}

/** The file of a sample in its mailbox, once it is delivered. */
async function storedFile(config: Config, sample: Sample): Promise<string> {
  const account = sample.to.toLowerCase().replace(/\+[^@]*/, "")
  const maildir = join(config.data, "mail", account, "Maildir")
  const end = performance.now() + DELIVERY_MS
  for (;;) {
    const found = filesOf(maildir).find((file) => readFileSync(file).includes(sample.messageId))
    if (found) return found
    if (performance.now() > end)
      throw new GatewayError("STATE_CORRUPT", `the message to ${sample.to} has not arrived; see: postern queue list`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function filesOf(maildir: string): string[] {
  return ["new", "cur"].flatMap((name) => {
    try {
      return readdirSync(join(maildir, name)).map((file) => join(maildir, name, file))
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return []
      throw error
    }
  })
}
