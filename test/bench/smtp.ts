import { readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DnsServer } from "../harness/dns-server.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { run } from "../harness/peers.ts"
import { PostfixToSink } from "./postfix.ts"
import { format, type Row } from "./report.ts"
import { signedMail } from "./signed-mail.ts"

const MESSAGES = 3_000
/** Before anything is measured: the code is compiled by then, which takes thousands, as a server that has run for a minute has seen. */
const WARMING = 12_000
const OCTETS = 10_240
const CONNECTIONS = 10
const ROUNDS = 3
/** `postern init` gives the listeners ports in a row. */
export const ADMIN_OFFSET = 6

interface Rates {
  readonly accepted: number[]
  readonly endToEnd: number[]
}

/** How Postfix's load generator sends. */
interface Sending {
  /** One connection for many messages; false: a new one for each. */
  readonly reuse: boolean
  /** A whole message; null: the generator makes one of {@link OCTETS}. */
  readonly file: string | null
}

export const GENERATED: Sending = { reuse: true, file: null }

/**
 * 10 KB messages over reused connections, sent by Postfix's own load generator. Ours: accepted, sealed, encrypted with S/MIME, durably
 * in the mailbox. Postfix: accepted, queued, handed in clear to a sink. Rounds alternate, so that both meet the same weather.
 */
export async function bench(): Promise<Row[]> {
  // What is left of the first part is removed in the end: for a minute after thousands of files are gone, ext4 without a journal finds an inode for a new one slowly.
  await using stack = new AsyncDisposableStack()
  return [...(await plain(stack)), ...(await authenticated(stack))]
}

async function plain(stack: AsyncDisposableStack): Promise<Row[]> {
  const postfix = stack.use(await PostfixToSink.start())
  const gateway = stack.use(await Instance.create())
  await gateway.must("account", "add", "alice@example.test")
  await gateway.serve()
  const inbox = join(gateway.maildir("alice@example.test"), "new")
  const ours: Rates = { accepted: [], endToEnd: [] }
  const theirs: Rates = { accepted: [], endToEnd: [] }
  await round(gateway.port, WARMING, () => count(inbox) >= WARMING, GENERATED)
  let expected = WARMING
  for (let index = 0; index < ROUNDS; index++) {
    expected += MESSAGES
    const target = expected
    add(ours, await round(gateway.port, MESSAGES, () => count(inbox) >= target, GENERATED))
    add(theirs, await round(postfix.port, MESSAGES, () => postfix.queued() === 0, GENERATED))
  }
  if (count(inbox) !== expected) throw new Error(`${count(inbox)} messages in the mailbox, not ${expected}`)
  await gateway.stop()
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

/**
 * The same with mail that is signed (RSA, 2048 bits) and judged by SPF, DKIM, ARC and DMARC, whose records are asked for at a DNS server on this
 * machine; Postfix judges nothing.
 */
async function authenticated(stack: AsyncDisposableStack): Promise<Row[]> {
  const postfix = stack.use(await PostfixToSink.start())
  const { text, zone } = await signedMail(OCTETS)
  await using dns = await DnsServer.start(zone)
  const gateway = stack.use(await Instance.create())
  const file = join(gateway.folder, "signed")
  writeFileSync(file, text)
  await gateway.must("account", "add", "alice@example.test")
  gateway.configure("[policy]", `[dns]\nservers = ["${dns.address}"]\n\n[policy]\ntrusted = []`)
  await gateway.serve()
  const inbox = join(gateway.maildir("alice@example.test"), "new")
  let expected = WARMING
  await round(gateway.port, expected, () => count(inbox) >= expected, { reuse: true, file })
  const rows: Row[] = []
  for (const reuse of [true, false]) {
    const ours: Rates = { accepted: [], endToEnd: [] }
    const theirs: Rates = { accepted: [], endToEnd: [] }
    for (let index = 0; index < ROUNDS; index++) {
      expected += MESSAGES
      const target = expected
      add(ours, await round(gateway.port, MESSAGES, () => count(inbox) >= target, { reuse, file }))
      add(theirs, await round(postfix.port, MESSAGES, () => postfix.queued() === 0, { reuse, file }))
    }
    const connections = reuse ? "reused connections" : "a connection for each"
    const peer = (values: number[]) => ({ name: "postfix, no checks", values })
    rows.push(
      {
        name: `10 KB signed mail accepted and authenticated, ${connections}`,
        unit: "messages/s",
        ours: ours.accepted,
        peer: peer(theirs.accepted),
        target: null,
      },
      // Postfix takes more in than it hands on, and has the rest in its queue: what is compared is mail that has come through.
      {
        name: `10 KB signed mail authenticated, end to end, ${connections}`,
        unit: "messages/s",
        ours: ours.endToEnd,
        peer: peer(theirs.endToEnd),
        target: { kind: "ratio at least", value: 1 },
      },
    )
  }
  const judged = await (await fetch(`http://127.0.0.1:${gateway.port + ADMIN_OFFSET}/metrics`)).text()
  const passed = Number(/^postern_smtp_auth_total\{method="dkim",result="pass"\} (\d+)$/m.exec(judged)?.[1])
  if (count(inbox) !== expected || passed !== expected)
    throw new Error(`${count(inbox)} messages in the mailbox, ${passed} with dkim=pass, not ${expected}`)
  return rows
}

export async function round(
  port: number,
  messages: number,
  arrived: () => boolean,
  { reuse, file }: Sending,
): Promise<{ accepted: number; endToEnd: number }> {
  const start = performance.now()
  const args = [
    "-s",
    String(CONNECTIONS),
    ...(reuse ? ["-d"] : []),
    "-m",
    String(messages),
    ...(file === null ? ["-l", String(OCTETS)] : ["-F", file]),
    "-f",
    "sender@bench.test",
    "-t",
    "alice@example.test",
  ]
  const sent = await run("smtp-source", [...args, `127.0.0.1:${port}`], { timeoutMs: 120_000 })
  if (sent.code !== 0) throw new Error(`smtp-source: exit ${sent.code}: ${sent.stdout}${sent.stderr}`)
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
