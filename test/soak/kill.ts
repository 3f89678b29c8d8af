import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { eventually, Instance } from "../harness/instance.ts"
import { stuffed, WireClient } from "../harness/wire.ts"

/** What a series of crashes came to. */
export interface Ledger {
  readonly kills: number
  /** Message ids whose 250 was read. */
  readonly acknowledged: ReadonlySet<string>
  /** Sent to the final dot without an answer: may have arrived, once. */
  readonly unanswered: ReadonlySet<string>
  /** How often each id lies in the mailbox. */
  readonly stored: ReadonlyMap<string, number>
}

const SENDERS = 4
const RECIPIENT = "alice@example.test"

/**
 * Kills a gateway with SIGKILL at random moments while mail arrives and is delivered, starts it again each time without cleaning
 * up, and in the end counts what lies in the mailbox.
 */
export async function killAgainAndAgain(
  kills: number,
  onKill: (count: number) => void = () => undefined,
): Promise<Ledger> {
  await using gateway = await Instance.create()
  await gateway.must("account", "add", RECIPIENT)
  const acknowledged = new Set<string>()
  const unanswered = new Set<string>()
  for (let count = 0; count < kills; count++) {
    await gateway.serve()
    const before = acknowledged.size
    const dead = new AbortController()
    const senders = Array.from({ length: SENDERS }, (_, sender) =>
      send(gateway.port, `${count}-${sender}`, { acknowledged, unanswered }, dead.signal),
    )
    // Three times in four mail is flowing, however slow the machine is today; once anything goes, the start included.
    if (count % 4 !== 0) await eventually("the first 250", () => acknowledged.size > before, 30_000)
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 300))
    await gateway.stop("SIGKILL")
    dead.abort()
    await Promise.all(senders)
    onKill(count + 1)
  }
  await gateway.serve()
  await drained(gateway)
  await gateway.stop()
  return { kills, acknowledged, unanswered, stored: inMailbox(gateway, RECIPIENT) }
}

/** A thousand short lives leave thousands of messages behind: as long as they become fewer, they are waited for, `pushed` each time. */
export async function drained(gateway: Instance, pushed: () => Promise<void> = async () => undefined): Promise<void> {
  for (let left = gateway.spooled(); left > 0; left = gateway.spooled()) {
    const before = left
    await pushed()
    await eventually("the queue becomes shorter", () => gateway.spooled() < before, 60_000).catch(
      async (error: unknown) => {
        throw new Error(`${await gateway.must("queue", "list")}\n${storyOf(gateway)}`.slice(0, MAX_LISTED), {
          cause: error,
        })
      },
    )
  }
}

/** What the log of this life says of messages that are still in the spool. */
function storyOf(gateway: Instance): string {
  const ids = gateway.spooledIds()
  const lines = gateway.log.split("\n").filter((line) => ids.some((id) => line.includes(id)))
  return [`in the spool: ${ids.join(", ")}`, ...lines].join("\n")
}

/** Characters of the queue that a failure shows. */
const MAX_LISTED = 10_000

/** Sends message after message over one connection until the server is gone. */
async function send(
  port: number,
  series: string,
  seen: { readonly acknowledged: Set<string>; readonly unanswered: Set<string> },
  dead: AbortSignal,
): Promise<void> {
  let sending: string | null = null
  try {
    using client = await WireClient.connect(port)
    dead.addEventListener("abort", () => client[Symbol.dispose](), { once: true })
    await client.until(/^220 .*\r\n/m)
    await client.write("EHLO killer.test\r\n")
    await client.until(/^250 .*\r\n/m)
    for (let number = 0; !dead.aborted; number++) {
      const id = `kill-${series}-${number}`
      for (const command of ["MAIL FROM:<k@elsewhere.test>", `RCPT TO:<${RECIPIENT}>`, "DATA"]) {
        await client.write(`${command}\r\n`)
        await client.until(/^[23]\d\d .*\r\n/m)
      }
      sending = id
      await client.write(
        stuffed(
          Buffer.from(`Message-ID: <${id}@elsewhere.test>\r\nSubject: ${id}\r\n\r\n${"payload ".repeat(500)}\r\n`),
        ),
      )
      await client.until(/^250 .*\r\n/m)
      seen.acknowledged.add(id)
      sending = null
    }
  } catch (error) {
    // The connection breaks when the server is killed; that is the point. Anything before is a failure of the test.
    if (
      !dead.aborted &&
      !(error instanceof Error && /connection ended|ECONNRESET|ECONNREFUSED|EPIPE|write/.test(error.message))
    )
      throw error
    if (sending !== null) seen.unanswered.add(sending)
  }
}

/** How often each id lies in the INBOX of an address. */
export function inMailbox(gateway: Instance, address: string): Map<string, number> {
  const stored = new Map<string, number>()
  for (const name of ["new", "cur"]) {
    const folder = join(gateway.maildir(address), name)
    for (const file of readdirSync(folder)) {
      const id = /^Message-ID: <(kill-[^@]+)@/m.exec(readFileSync(join(folder, file), "latin1"))?.[1] ?? "unknown"
      stored.set(id, (stored.get(id) ?? 0) + 1)
    }
  }
  return stored
}

/** Ids that were answered 250 and are not in the mailbox, and ids that are there more than once, or that nobody sent. */
export function faults({ acknowledged, unanswered, stored }: Ledger): {
  readonly lost: string[]
  readonly doubled: string[]
  readonly invented: string[]
} {
  return {
    lost: [...acknowledged].filter((id) => !stored.has(id)),
    doubled: [...stored].filter(([, copies]) => copies > 1).map(([id]) => id),
    invented: [...stored.keys()].filter((id) => !acknowledged.has(id) && !unanswered.has(id)),
  }
}
