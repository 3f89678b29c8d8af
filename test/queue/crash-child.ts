import { writeSync } from "node:fs"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { openEmbeddedQueue } from "../../src/queue/embedded.ts"
import { jobsFor } from "../../src/queue/queue.ts"
import { startSweeping } from "../../src/queue/sweep.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { NewEntry } from "../../src/store/spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"

/** What a gateway does to spool and queue, as fast as it can, until it is killed. Says what it has promised, a line each. */
const folder = process.argv[2] ?? ""
const now = () => new Date()
const say = (line: string) => writeSync(1, `${line}\n`)

const halves = new FolderHalves(`${folder}/data/spool-keys`)
const spoolKeys = new SpoolKeys(halves, `${folder}/secrets/spool`)
await spoolKeys.rotate(now())
const publicKeys = new SpoolPublicKeys(halves, now)
const spool = await openFileSpool({
  folder: `${folder}/data/spool`,
  publicKeys,
  privateKeys: spoolKeys,
  now,
  reuse: true,
})
const queue = openEmbeddedQueue(`${folder}/data`, {
  now,
  log: silentLog(),
  onEmptied: (id) => spool.remove(id),
  commitsReachDisk: "later",
})
await startSweeping({ spool, queue, spoolKeys, now, log: silentLog() }, { onReturn: () => undefined })

const recipients = ["a@example.test", "b@example.test"].map((address) => ({
  address: parseAddress(address),
  notify: null,
  originalRecipient: null,
}))
const envelope = { sender: null, recipients, smtpUtf8: false, envelopeId: null, returnContent: null }
const origin = { kind: "mx", account: null, device: null, remote: "", helo: "", tls: false } as const
const entry = (): NewEntry => ({ envelope, origin, received: "", receivedAt: now() })

void queue.work(
  async (job) => {
    await using message = await spool.open(job.spoolId)
    if (message === null) say(`lost ${job.spoolId}`)
    say(`delivered ${job.id}`)
    const status = { recipient: job.recipient, action: "delivered", status: "2.0.0", diagnostic: "" } as const
    // A part of the mail stays, so that later rounds find it.
    return job.id.endsWith("0") ? { kind: "hold", reason: "stays" } : { kind: "done", status }
  },
  { concurrency: 4, signal: new AbortController().signal },
)

async function* content(octets: number): AsyncIterable<Uint8Array> {
  for (let left = octets; left > 0; left -= 10_000) yield new Uint8Array(Math.min(left, 10_000)).fill(octets % 251)
}

async function accept(octets: number): Promise<void> {
  const received = entry()
  const id = await spool.write(received, content(octets))
  say(`accepted ${id} ${octets}`)
  await queue.add(...jobsFor(id, envelope, received.receivedAt))
}

await Promise.all(
  Array.from({ length: 6 }, async (_, writer) => {
    for (let octets = 1 + writer; ; octets = (octets * 7) % 200_003) await accept(octets)
  }),
)
