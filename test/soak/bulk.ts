import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import { createReadStream, createWriteStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { filesShowing, makeCanary } from "../harness/canary.ts"
import { eventually, type Instance } from "../harness/instance.ts"
import { mustRun } from "../harness/peers.ts"
import { ALICE, aliceAndBob, BOB, type Device, MeshWorld, ONE } from "../interop/internet/mesh-world.ts"

export interface BulkFigures {
  readonly seconds: number
  /** By which the larger of both gateways grew at most, in MiB, from submission to the mailbox. */
  readonly grownMib: number
  /** SHA-256 of the text, as it was sent, and as Bob's device opened it. */
  readonly sent: string
  readonly opened: string
  /** Files of either gateway's data/ in which it lies open. */
  readonly open: readonly string[]
}

/** One long mail over the Mesh, which Bob's device fetches by IMAP and opens with OpenSSL. */
export async function soakBulk(octets: number): Promise<BulkFigures> {
  await using world = await MeshWorld.start({ configured: roomy, isTapped: false })
  const { one, two } = world
  const { alice, bob } = await aliceAndBob(world)
  const canary = makeCanary()
  const head = `From: ${ALICE}\r\nTo: ${BOB}\r\nSubject: long\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\nMessage-ID: <long@${ONE.domain}>\r\n\r\n`
  // Its last line ends with what ends DATA.
  const text = Buffer.alloc(octets - LINE_END.length, `${canary.text} 0123456789\r\n`)
  const before = [one, two].map(({ instance }) => memoryMib(instance, "VmRSS"))
  const start = performance.now()
  await world.submit(alice, [BOB], Buffer.concat([Buffer.from(head), text]))
  const inbox = join(two.instance.maildir(BOB), "new")
  const isHere = () => existsSync(inbox) && readdirSync(inbox).some((name) => statSync(join(inbox, name)).size > octets)
  await eventually("it has arrived", isHere, 600_000)
  const seconds = (performance.now() - start) / 1000
  const grown = [one, two].map(({ instance }, at) => memoryMib(instance, "VmHWM") - (before[at] ?? 0))
  const fetched = world.internet.folder.file("fetched.eml")
  await fetch(world, bob, fetched)
  return {
    seconds,
    grownMib: Math.max(...grown),
    sent: createHash("sha256").update(text).update(LINE_END).digest("hex"),
    opened: await openedDigest(fetched, bob),
    open: [one, two].flatMap(({ instance }) => filesShowing([join(instance.folder, "data")], [canary])),
  }
}

function roomy(instance: Instance): void {
  instance.configure('messageSize = "50MB"', 'messageSize = "1500MB"')
}

function memoryMib({ pid }: Instance, field: "VmRSS" | "VmHWM"): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0) / 1024
}

/** The one message of the INBOX, into a file. */
async function fetch(world: MeshWorld, device: Device, file: string): Promise<void> {
  using session = await world.reading(device)
  const [uid] = await session.uids()
  await session.wire.write(`all UID FETCH ${uid} (BODY.PEEK[])\r\n`)
  const head = await session.wire.until(/\{(\d+)\}\r\n/)
  const size = Number(/\{(\d+)\}\r\n$/.exec(head)?.[1])
  await pipeline(async function* () {
    for (let left = size; left > 0; left -= PIECE_OCTETS) yield await session.wire.take(Math.min(left, PIECE_OCTETS))
  }, createWriteStream(file))
  await session.wire.until(/^all OK.*\r\n/m)
}

/** SHA-256 of what stands behind the header of a message that the device opens. */
async function openedDigest(file: string, device: Device): Promise<string> {
  const [identity, opened] = [`${file}.pem`, `${file}.opened`]
  const pkcs12 = join(device.folder, device.files.pkcs12 ?? "none")
  const password = `pass:${device.pkcs12Password ?? ""}`
  await mustRun("openssl", ["pkcs12", "-in", pkcs12, "-nodes", "-passin", password, "-out", identity])
  const words = ["cms", "-decrypt", "-binary", "-in", file, "-inkey", identity, "-recip", identity, "-out", opened]
  const [code] = await once(spawn("openssl", words, { stdio: "ignore" }), "exit")
  if (code !== 0) throw new Error(`openssl cms: exit ${code}`)
  let head = Buffer.alloc(0)
  const digest = createHash("sha256")
  for await (const piece of createReadStream(opened, { highWaterMark: PIECE_OCTETS }) as AsyncIterable<Buffer>) {
    if (head.includes(EMPTY_LINE)) digest.update(piece)
    else {
      head = Buffer.concat([head, piece])
      const end = head.indexOf(EMPTY_LINE)
      if (end >= 0) digest.update(head.subarray(end + EMPTY_LINE.length))
    }
  }
  return digest.digest("hex")
}

const LINE_END = "\r\n"
const EMPTY_LINE = "\r\n\r\n"
const PIECE_OCTETS = 1_048_576
