import { readFileSync, writeFileSync } from "node:fs"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { ImapSession } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"
import { format, type Row } from "./report.ts"

const LARGE_OCTETS = 49_000_000
/** What "idle" means: code compiled, caches filled, buffers of the first messages still about. */
const WARM_UP_MESSAGES = 200
const LIMIT_MB = 60

/** Peak memory of the whole gateway above idle while one message of 49 MB goes each way. */
export async function bench(): Promise<Row[]> {
  await using gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  await gateway.must("account", "add", "bob@example.test", "--format", "openpgp")
  const alice = await gateway.device("alice@example.test", "laptop")
  const bob = await gateway.device("bob@example.test", "desktop")
  await gateway.serve()
  await warmUp(gateway, alice)
  const large = largeMessage()
  const rows: Row[] = []
  for (const [name, device] of [
    ["S/MIME", alice],
    ["OpenPGP", bob],
  ] as const) {
    const before = await count(device)
    rows.push(
      await peak(gateway, `${name}: 49 MB arrives and is delivered`, async () => {
        const reply = await sendMail(gateway.port, "c@elsewhere.test", [device.address], large)
        if (!reply.startsWith("250")) throw new Error(reply)
        await eventually("delivery", async () => (await count(device)) > before, 60_000)
      }),
    )
    rows.push(await peak(gateway, `${name}: fetched by a slow client`, () => fetchSlowly(device)))
    rows.push(await peak(gateway, `${name}: 49 MB uploaded in clear`, () => append(device, large)))
  }
  return rows
}

function largeMessage(): Buffer {
  const line = `${"The quick brown fox jumps over the lazy dog. ".repeat(2).slice(0, 76)}\r\n`
  return Buffer.from(
    `From: c@elsewhere.test\r\nSubject: large\r\n\r\n${line.repeat(Math.floor(LARGE_OCTETS / line.length))}`,
  )
}

async function warmUp(gateway: Instance, device: DeviceSettings): Promise<void> {
  const small = Buffer.from(`Subject: small\r\n\r\n${"x".repeat(10_000)}\r\n`)
  for (let index = 0; index < WARM_UP_MESSAGES / 4; index++)
    await Promise.all(
      Array.from({ length: 4 }, () => sendMail(gateway.port, "c@elsewhere.test", [device.address], small)),
    )
  await eventually("warm-up", async () => (await count(device)) >= WARM_UP_MESSAGES, 60_000)
}

async function count(device: DeviceSettings): Promise<number> {
  using session = await ImapSession.open(device)
  return (await session.uids()).length
}

/** The highest resident size during `act` above the one before, in megabytes. */
async function peak(gateway: Instance, name: string, act: () => Promise<void>): Promise<Row> {
  // The process gives memory back in its own time.
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  const idle = kilobytes(gateway, "VmRSS")
  // proc_pid_clear_refs(5): 5 makes VmHWM begin anew.
  writeFileSync(`/proc/${gateway.pid}/clear_refs`, "5")
  await act()
  const used = (kilobytes(gateway, "VmHWM") - idle) / 1024
  return {
    name: `${name}: peak above idle (idle ${(idle / 1024).toFixed(0)} MB)`,
    unit: "MB",
    ours: [used],
    peer: null,
    target: { kind: "at most", value: LIMIT_MB },
  }
}

function kilobytes(gateway: Instance, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${gateway.pid}/status`, "utf8"))?.[1])
}

/** Reads 256 KiB at a time with pauses: what the client does not take must not pile up here. */
async function fetchSlowly(device: DeviceSettings): Promise<void> {
  using session = await ImapSession.open(device)
  const uid = (await session.uids()).at(-1) ?? 0
  await session.wire.write(`f UID FETCH ${uid} (BODY.PEEK[])\r\n`)
  const head = await session.wire.until(/\{(\d+)\}\r\n/)
  let left = Number(/\{(\d+)\}\r\n$/.exec(head)?.[1])
  if (left < LARGE_OCTETS) throw new Error(`the newest message has ${left} octets`)
  while (left > 0) {
    const part = Math.min(left, 262_144)
    await session.wire.take(part)
    left -= part
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await session.wire.until(/^f OK.*\r\n/m)
}

async function append(device: DeviceSettings, message: Buffer): Promise<void> {
  using session = await ImapSession.open(device)
  await session.wire.write(`a APPEND INBOX (\\Seen) {${message.length}}\r\n`)
  await session.wire.until(/^\+/m)
  await session.wire.write(Buffer.concat([message, Buffer.from("\r\n")]))
  const answer = await session.wire.until(/^a .*\r\n/m, 60_000)
  if (!answer.includes("a OK")) throw new Error(answer)
}

if (import.meta.main) for (const row of await bench()) console.log(format(row))
