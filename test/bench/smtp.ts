import { readdirSync } from "node:fs"
import { join } from "node:path"
import { eventually, Instance } from "../harness/instance.ts"
import { run } from "../harness/peers.ts"
import { PostfixToSink } from "./postfix.ts"
import { format, type Row } from "./report.ts"

const MESSAGES = 3_000
const OCTETS = 10_240
const CONNECTIONS = 10
const ROUNDS = 3

interface Rates {
  readonly accepted: number[]
  readonly endToEnd: number[]
}

/**
 * 10 KB messages over reused connections, sent by Postfix's own load generator. Ours: accepted, sealed, encrypted with S/MIME, durably
 * in the mailbox. Postfix: accepted, queued, handed in clear to a sink. Rounds alternate, so that both meet the same weather.
 */
export async function bench(): Promise<Row[]> {
  await using postfix = await PostfixToSink.start()
  await using gateway = await Instance.create()
  await gateway.must("account", "add", "alice@example.test")
  await gateway.serve()
  const inbox = join(gateway.maildir("alice@example.test"), "new")
  const ours: Rates = { accepted: [], endToEnd: [] }
  const theirs: Rates = { accepted: [], endToEnd: [] }
  await round(gateway.port, 500, () => count(inbox) >= 500)
  let expected = 500
  for (let index = 0; index < ROUNDS; index++) {
    expected += MESSAGES
    const target = expected
    add(ours, await round(gateway.port, MESSAGES, () => count(inbox) >= target))
    add(theirs, await round(postfix.port, MESSAGES, () => postfix.queued() === 0))
  }
  if (count(inbox) !== expected) throw new Error(`${count(inbox)} messages in the mailbox, not ${expected}`)
  return [
    {
      name: "10 KB mail end to end (accepted, encrypted, durable) against Postfix to a sink",
      unit: "messages/s",
      ours: ours.endToEnd,
      peer: { name: "postfix", values: theirs.endToEnd },
      target: { kind: "ratio at least", value: 1 },
    },
    {
      name: "10 KB mail accepted",
      unit: "messages/s",
      ours: ours.accepted,
      peer: { name: "postfix", values: theirs.accepted },
      target: null,
    },
  ]
}

async function round(
  port: number,
  messages: number,
  arrived: () => boolean,
): Promise<{ accepted: number; endToEnd: number }> {
  const start = performance.now()
  const args = [
    "-s",
    String(CONNECTIONS),
    "-d",
    "-m",
    String(messages),
    "-l",
    String(OCTETS),
    "-f",
    "sender@bench.test",
    "-t",
    "alice@example.test",
  ]
  const sent = await run("smtp-source", [...args, `127.0.0.1:${port}`], { timeoutMs: 120_000 })
  if (sent.code !== 0) throw new Error(`smtp-source: ${sent.stderr}`)
  const accepted = (messages / (performance.now() - start)) * 1000
  await eventually("all messages have arrived", arrived, 120_000)
  return { accepted, endToEnd: (messages / (performance.now() - start)) * 1000 }
}

function add(rates: Rates, { accepted, endToEnd }: { accepted: number; endToEnd: number }): void {
  rates.accepted.push(accepted)
  rates.endToEnd.push(endToEnd)
}

function count(folder: string): number {
  return readdirSync(folder).length
}

if (import.meta.main) for (const row of await bench()) console.log(format(row))
