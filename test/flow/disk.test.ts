import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer } from "../harness/peers.ts"
import { ImapSession } from "../harness/reading.ts"
import { sendMail } from "../harness/wire.ts"

/** Root may give a process mounts of its own, unless it is confined. Where not, it is a visible skip everywhere. */
const mountsPossible = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0

/** The same for tracing another process. */
const tracePossible = peer("strace") && spawnSync("strace", ["-o", "/dev/null", "true"]).status === 0

const ALICE = "alice@example.test"

let gateway: Instance
let device: DeviceSettings & { readonly folder: string }

beforeAll(async () => {
  if (!mountsPossible) return
  gateway = await Instance.create()
  await gateway.must("account", "add", ALICE)
  device = await gateway.device(ALICE, "laptop")
  // The spool is a disk of its own: 2 MB, and 100 files.
  const mount = 'mkdir -p -m 700 "$0" && mount -t tmpfs -o size=2m,nr_inodes=100,mode=700 tmpfs "$0" && exec "$@"'
  gateway.within = ["unshare", "--mount", "sh", "-c", mount, spool()]
  await gateway.serve()
})

afterAll(async () => gateway?.[Symbol.asyncDispose]())

function spool(): string {
  return join(gateway.folder, "data/spool")
}

/** Runs a command where the spool is what the server sees. */
async function onDisk(command: string): Promise<string> {
  const said = await mustRun("nsenter", ["--target", String(gateway.pid), "--mount", "sh", "-c", command, spool()])
  return Buffer.from(said).toString()
}

function send(subject: string, sizeOctets = 300_000): Promise<string> {
  const line = `${"x".repeat(74)}\r\n`
  const body = line.repeat(Math.ceil(sizeOctets / line.length))
  return sendMail(gateway.port, "a@elsewhere.test", [ALICE], Buffer.from(`Subject: ${subject}\r\n\r\n${body}`))
}

/** Subjects in the mailbox. */
async function stored(): Promise<readonly string[]> {
  using session = await ImapSession.open(device)
  await session.must("SELECT INBOX")
  const answer = await session.must("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
  return [...answer.matchAll(/^Subject: (.*)\r$/gm)].map(([, subject = ""]) => subject)
}

async function isStored(subject: string): Promise<void> {
  await eventually(`${subject} is in the mailbox`, async () => (await stored()).includes(subject))
}

describe.skipIf(!mountsPossible)(
  "a disk that fails: nobody hears 250, nothing is lost, and it goes on by itself",
  () => {
    const rows: [name: string, fail: string, mend: string][] = [
      ["full", 'head -c 3000000 /dev/zero > "$0/filler" || true', 'rm "$0/filler"'],
      ["without a free inode", 'for n in $(seq 200); do touch "$0/f$n" 2>&1 || break; done', 'rm "$0"/f*'],
      ["read-only", 'mount -o remount,ro "$0"', 'mount -o remount,rw "$0"'],
    ]
    for (const [name, fail, mend] of rows)
      test(name, async () => {
        await isStoredBefore(name)
        await onDisk(fail)
        expect(await send(`${name}: refused`)).toMatch(/^452 4\.3\.1 /)
        await onDisk(mend)
        expect(await send(`${name}: after`)).toMatch(/^250 2\./)
        await isStored(`${name}: after`)
        expect(await stored()).not.toContain(`${name}: refused`)
      })

    async function isStoredBefore(name: string): Promise<void> {
      expect(await send(`${name}: before`)).toMatch(/^250 2\./)
      await isStored(`${name}: before`)
      // What leaves later would make room.
      await eventually("it has left the spool", async () => (await onDisk('ls "$0"')) === "")
    }

    test("full in the middle of a message", async () => {
      expect(await send("too much", 5_000_000)).toMatch(/^452 4\.3\.1 /)
      expect(await send("what fits")).toMatch(/^250 2\./)
      await isStored("what fits")
    })

    test.skipIf(!tracePossible)("fsync fails with EIO", async () => {
      await isStoredBefore("fsync")
      const tracer = await failing("fsync,fdatasync:error=EIO")
      expect(await send("fsync: refused")).toMatch(/^452 4\.3\.1 /)
      await ended(tracer)
      expect(await send("fsync: after")).toMatch(/^250 2\./)
      await isStored("fsync: after")
      expect(await stored()).not.toContain("fsync: refused")
    })

    test("each refusal is an error in the log, for whoever watches it", () => {
      const lines = gateway.log.split("\n").filter((line) => line.includes('"event":"smtp.not-accepted"'))
      for (const line of lines) expect(JSON.parse(line)).toMatchObject({ level: 50, code: 452 })
      expect(lines.length).toBeGreaterThanOrEqual(rows.length + 1)
    })

    /** From now on these system calls of the server fail. */
    async function failing(injected: string): Promise<ChildProcess> {
      const tracer = spawn("strace", ["-f", "-o", "/dev/null", "-p", String(gateway.pid), "-e", `inject=${injected}`])
      await once(tracer.stderr, "data")
      return tracer
    }

    async function ended(tracer: ChildProcess): Promise<void> {
      const exit = once(tracer, "exit")
      tracer.kill("SIGINT")
      await exit
    }
  },
)
