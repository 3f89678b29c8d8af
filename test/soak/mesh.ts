import { openQueue } from "../../src/cli/open-queue.ts"
import { loadConfig } from "../../src/config/load.ts"
import { eventually, type Instance } from "../harness/instance.ts"
import { ALICE, aliceAndBob, BOB, type Device, MeshWorld, ONE } from "../interop/internet/mesh-world.ts"
import { drained, inMailbox, type Ledger } from "./kill.ts"
import { retryAll } from "./machines.ts"

const SENDERS = 3
/** How long both may be alive before one of them is killed. */
const LONGEST_LIFE_MS = 800
/** One in so many is longer than a message of the Mesh: it is published, and fetched. */
const PUBLISHED_EACH = 4
const RETRIED_EACH = 5
/** Senders wait while so many messages do. */
const BACKLOG = 500

/**
 * Two gateways, of which Alice's sends and Bob's receives over the Mesh, are killed by turns with SIGKILL at random moments, and started again without cleaning
 * up: while mail is sealed, published, posted, verified, kept, fetched and stored. In the end it is counted what lies in Bob's mailbox.
 */
export async function killMeshGateways(
  kills: number,
  onKill: (count: number) => void = () => undefined,
): Promise<Ledger> {
  await using world = await MeshWorld.start({ configured: unlimited, isTapped: false })
  const { alice } = await aliceAndBob(world)
  const seen = { acknowledged: new Set<string>(), unanswered: new Set<string>() }
  const end = new AbortController()
  const senders = Array.from({ length: SENDERS }, (_, sender) => send(world, alice, sender, seen, end.signal))
  // They end before what they speak to, also when something else has failed.
  await using _sending = { [Symbol.asyncDispose]: () => ended(senders, end) }
  for (let count = 0; count < kills; count++) {
    const before = seen.acknowledged.size
    await eventually("mail flows", () => seen.acknowledged.size > before, 60_000)
    await new Promise((resolve) => setTimeout(resolve, Math.random() * LONGEST_LIFE_MS))
    const victim = count % 2 === 0 ? world.two : world.one
    await victim.instance.stop("SIGKILL")
    await world.serve(victim)
    // What met a gateway that was away waits for minutes; so long nobody wants to.
    if (count % RETRIED_EACH === 0) await retried(world.one.instance)
    onKill(count + 1)
  }
  await ended(senders, end)
  await Promise.all(senders)
  for (const { instance } of [world.one, world.two]) await drained(instance, () => retried(instance))
  await Promise.all([world.one, world.two].map(({ instance }) => instance.stop()))
  for (const { instance } of [world.one, world.two]) await instance.must("queue", "audit")
  return { kills, ...seen, stored: inMailbox(world.two.instance, BOB) }
}

async function ended(senders: readonly Promise<void>[], end: AbortController): Promise<void> {
  end.abort()
  await Promise.allSettled(senders)
}

/** Nothing but what is tested holds mail up. */
function unlimited(instance: Instance): void {
  instance.configure("[limits]", "[limits]\nsmtpRecipientsPerAccount = 0\nmeshRequestsPerNetwork = 0")
}

async function retried(instance: Instance): Promise<void> {
  await using commands = await openQueue(loadConfig(instance.configuration, process.cwd()))
  await retryAll(commands)
}

interface Seen {
  readonly acknowledged: Set<string>
  readonly unanswered: Set<string>
}

/** Sends message after message, over a new connection when one breaks. */
async function send(world: MeshWorld, alice: Device, sender: number, seen: Seen, end: AbortSignal): Promise<void> {
  for (let number = 0; !end.aborted; ) {
    let sending: string | null = null
    try {
      using client = await world.submitting(alice)
      while (!end.aborted) {
        await eventually("few messages wait", () => end.aborted || world.one.instance.spooled() < BACKLOG, 300_000)
        sending = `kill-${sender}-${number++}`
        await client.send([BOB], message(sending, number))
        seen.acknowledged.add(sending)
        sending = null
      }
    } catch (error) {
      if (!(error instanceof Error && BROKEN.test(error.message))) throw error
      if (sending !== null) seen.unanswered.add(sending)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** What a gateway that is killed, or not there, looks like to its client. */
const BROKEN = /connection ended|ended by the other party|ECONNRESET|ECONNREFUSED|EPIPE|write|disconnected|not within/

function message(id: string, number: number): Uint8Array {
  const lines = number % PUBLISHED_EACH === 0 ? 5_000 : 100
  const head = `From: ${ALICE}\r\nTo: ${BOB}\r\nSubject: ${id}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\nMessage-ID: <${id}@${ONE.domain}>`
  return Buffer.from(`${head}\r\n\r\n${"0123456789\r\n".repeat(lines)}`)
}
