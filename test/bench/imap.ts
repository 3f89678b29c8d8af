import { dovecotPossible } from "../harness/dovecot.ts"
import { LoadClient } from "./imap-client.ts"
import { selfTimes } from "./imap-profile.ts"
import { CLIENTS, type Contestant, IMAP_PROCESSES, ImapSite, type Leg, MESSAGES, through } from "./imap-site.ts"
import { cpuSeconds, pssKilobytes, tree } from "./processes.ts"
import { format, median, type Row } from "./report.ts"

/**
 * The IMAP proxy against nginx's and Dovecot's over one store on the same machine in the same run: 2,000 S/MIME messages of some 30 KB,
 * each patched by ours. Rounds alternate, so that all meet the same weather. `node test/bench/imap.ts [rounds=N] [PART…]` runs parts.
 */
const PARTS: Readonly<Record<string, (run: Run) => Promise<Row[]>>> = {
  "fetch-tls": (run) => fetchPart(run, "tls"),
  "fetch-plain": (run) => fetchPart(run, "plain"),
  "latency-tls": (run) => latencyPart(run, "tls"),
  "latency-plain": (run) => latencyPart(run, "plain"),
  logins: loginsPart,
  idle: idlePart,
}

/** Only when named: where our processes spend their time while they serve something, so many passes after their start. */
const PROFILES: Readonly<Record<string, { readonly warmUp: number; readonly pass: Pass }>> = {
  profile: { warmUp: 2, pass: fetchPass },
  "profile-cold": { warmUp: 0, pass: fetchPass },
  "profile-logins": { warmUp: 3, pass: loginsPass },
}

/** What is profiled, once. @returns how fast it was */
type Pass = (run: Run, ours: Contestant) => Promise<string>

const ROUNDS = 3
const LOGIN_SECONDS = 2
/** Each contestant, before it counts: the code that logs in is compiled after a thousand logins in each process, and a server runs for months. */
const LOGIN_WARM_UPS = 6
/** Twice as many are held in the end, each with a process of the store behind it. */
const IDLE_CONNECTIONS = 500
/** What thousands of logins leave behind is collected as new work comes, and most connections of a mail server are hours old. */
const SETTLE_MS = 30_000
/** Each pass brings the records of about half of the devices that still lack them in one of two processes; more passes than this are a fault. */
const MAX_WARM_UPS = 24
const COMMANDS_PER_BATCH = 100
const BATCHES = 5
const IDLE_LIMIT_KB = 55
/** The messages fetched one by one: those whose size is nearest to this. */
const BODY_OCTETS = 30_000
const BODY_MESSAGES = 50
/** Two octet strings of a patch window differ within so much: two identifiers and a public key in base64. */
const WINDOW_OCTETS = 512

interface Run {
  readonly site: ImapSite
  readonly load: LoadClient
  readonly rounds: number
}

/** All parts, or those named; `tell` gets each row as soon as its part is done. */
export async function bench(
  parts: readonly string[] = Object.keys(PARTS),
  rounds = ROUNDS,
  tell: (row: Row) => void = () => undefined,
): Promise<Row[]> {
  if (!dovecotPossible) {
    console.error("imap: skipped, it needs Dovecot and root")
    return []
  }
  const everything = new AsyncDisposableStack()
  let ending: Promise<void> | null = null
  const end = () => (ending ??= everything.disposeAsync())
  const interrupt = () => void end().finally(() => process.exit(130))
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, interrupt)
  try {
    const site = await ImapSite.start(everything)
    const load = everything.use(LoadClient.start())
    const rows: Row[] = []
    for (const part of parts) {
      process.stderr.write(`  ${part}\n`)
      const made = (await partNamed(part)?.({ site, load, rounds })) ?? []
      made.forEach(tell)
      rows.push(...made)
    }
    return rows
  } finally {
    await end()
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, interrupt)
  }
}

async function fetchPart(run: Run, leg: Leg): Promise<Row[]> {
  const { site, rounds } = run
  await checkContent(run, leg)
  await using nginx = await site.nginx()
  await using dovecot = await site.dovecotProxy()
  const ours = { cold: new Fetches(), warm: new Fetches(), oneCold: new Fetches(), oneWarm: new Fetches() }
  const peers = { nginx: new Fetches(), oneNginx: new Fetches(), dovecot: new Fetches(), direct: new Fetches() }
  const fresh = await site.ours(leg)
  const last = site.lastDevice(fresh)
  const none = await site.looked()
  await ours.cold.add(run, fresh, CLIENTS)
  await ours.oneCold.add(run, last, 1)
  await peers.direct.add(run, site.direct(leg), CLIENTS)
  await warmUp(run, fresh, last, none)
  const looked = await site.looked()
  for (let round = 0; round < rounds; round++) {
    await peers.dovecot.add(run, through(dovecot, leg), CLIENTS)
    if (nginx) await peers.nginx.add(run, through(nginx, leg), CLIENTS)
    await ours.warm.add(run, fresh, CLIENTS)
    if (nginx) await peers.oneNginx.add(run, through(nginx, leg), 1)
    await ours.oneWarm.add(run, last, 1)
  }
  const missed = ((await site.looked()) - looked) / (rounds * (CLIENTS + 1))
  const name = `mailbox of ${MESSAGES} messages fetched, ${LEGS[leg]}`
  const eight = `${name}, ${CLIENTS} clients`
  const { warm, cold } = ours
  return [
    against("nginx", `${eight}, warm`, "MB/s", warm.megabytes, peers.nginx.megabytes, leg === "tls" ? 1 : 0.85),
    against(
      "Dovecot's proxy",
      `${eight}, warm`,
      "MB/s",
      warm.megabytes,
      peers.dovecot.megabytes,
      leg === "tls" ? 3 : null,
    ),
    against("Dovecot directly", `${eight}, warm`, "MB/s", warm.megabytes, peers.direct.megabytes, null),
    against("nginx", `${eight}, warm`, "messages/s", warm.messages, peers.nginx.messages, null),
    against("nginx", `${eight}, cold`, "MB/s", cold.megabytes, peers.nginx.megabytes, 0.35),
    against("nginx", `${name}, 1 client, warm`, "MB/s", ours.oneWarm.megabytes, peers.oneNginx.megabytes, null),
    against("nginx", `${name}, 1 client, cold`, "MB/s", ours.oneCold.megabytes, peers.oneNginx.megabytes, null),
    against("nginx", `${eight}, warm: CPU`, CPU_UNIT, warm.cpu, peers.nginx.cpu, null),
    against("Dovecot's proxy", `${eight}, warm: CPU`, CPU_UNIT, warm.cpu, peers.dovecot.cpu, null),
    against("nginx", `${eight}, cold: CPU`, CPU_UNIT, cold.cpu, peers.nginx.cpu, null),
    { name: `${name}, warm: of these without a window record`, unit: "", ours: [missed], peer: null, target: null },
  ]
}

/** Fetches until each process has the records of each device: the system chooses the process that a connection is with. */
async function warmUp(run: Run, all: Contestant, last: Contestant, lookedBefore: number): Promise<void> {
  const records = MESSAGES * (CLIENTS + 1) * IMAP_PROCESSES
  const unmeasured = new Fetches()
  for (let pass = 0; (await run.site.looked()) - lookedBefore < records; pass++) {
    if (pass === MAX_WARM_UPS) throw new Error(`not all window records are there after ${pass} passes`)
    await unmeasured.add(run, all, CLIENTS)
    await unmeasured.add(run, last, 1)
  }
}

const LEGS: Readonly<Record<Leg, string>> = { tls: "TLS", plain: "plain" }
const CPU_UNIT = "ms a core for 1,000 messages"
const LOGIN_CPU_UNIT = "ms a core for a login"

/** What one contestant's fetches gave. */
class Fetches {
  readonly megabytes: number[] = []
  readonly messages: number[] = []
  /** Of the proxy's processes, milliseconds for 1,000 messages. */
  readonly cpu: number[] = []

  /** One fetch of the whole mailbox by each client, all at once. */
  async add({ site, load }: Run, { name, door, pid }: Contestant, clients: number): Promise<void> {
    const before = pid === null ? 0 : cpuSeconds(pid)
    const { seconds, received } = await load.run<"fetch">({ kind: "fetch", door, clients, digest: false })
    if (pid !== null) this.cpu.push(((cpuSeconds(pid) - before) * 1e6) / (clients * MESSAGES))
    const octets = site.sizes.reduce((sum, size) => sum + size, 0)
    for (const [index, client] of received.entries())
      if (client.messages !== MESSAGES || client.octets !== octets)
        throw new Error(
          `${name}, client ${index}: ${client.messages} messages of ${client.octets} octets, not ${MESSAGES} of ${octets}`,
        )
    this.megabytes.push((clients * octets) / 1e6 / seconds)
    this.messages.push((clients * MESSAGES) / seconds)
  }
}

/** What our proxy serves is what is stored but for the patch windows, and the same with and without window records. */
async function checkContent({ site, load }: Run, leg: Leg): Promise<void> {
  const { door } = await site.ours(leg)
  const direct = site.direct(leg).door
  const digest = async (from: typeof door) =>
    (await load.run<"fetch">({ kind: "fetch", door: from, clients: 1, digest: true })).received[0]?.digest
  const [cold, warm, stored] = [await digest(door), await digest(door), await digest(direct)]
  if (cold !== warm) throw new Error("our proxy served two passes differently")
  if (cold === stored) throw new Error("our proxy patched nothing")
  const uids = Array.from({ length: 20 }, (_, index) => 1 + Math.floor((index * MESSAGES) / 20))
  const before = await load.run<"read">({ kind: "read", door: direct, uids })
  const after = await load.run<"read">({ kind: "read", door, uids })
  for (const [index, uid] of uids.entries()) checkPatched(uid, before[index] ?? "", after[index] ?? "")
}

/** Both are base64. */
function checkPatched(uid: number, before: string, after: string): void {
  const [stored, served] = [Buffer.from(before, "base64"), Buffer.from(after, "base64")]
  const differing = stored.map((octet, at) => (octet === served[at] ? 0 : 1))
  const span = differing.lastIndexOf(1) - differing.indexOf(1) + 1
  if (stored.length !== served.length || !differing.includes(1) || span > WINDOW_OCTETS)
    throw new Error(`message ${uid}: ${stored.length} octets became ${served.length}, and differ over ${span}`)
}

/** One client, one command after the other. */
async function latencyPart(run: Run, leg: Leg): Promise<Row[]> {
  const { site } = run
  await using nginx = await site.nginx()
  const contestants = { ours: await site.ours(leg), direct: site.direct(leg), nginx: nginx && through(nginx, leg) }
  return [
    await addedLatency(run, `NOOP, ${LEGS[leg]}`, ["NOOP"], contestants),
    await addedLatency(run, `one BODY[] of 30 KB, ${LEGS[leg]}`, bodyCommands(site.sizes), contestants),
  ]
}

interface Latencies {
  readonly ours: Contestant
  readonly direct: Contestant
  readonly nginx: Contestant | null
}

/** Batches alternate; each gives one median of each contestant. */
async function addedLatency({ load }: Run, name: string, commands: readonly string[], among: Latencies): Promise<Row> {
  const middle = async ({ door }: Contestant, count: number) =>
    median(await load.run<"latency">({ kind: "latency", door, commands, count }))
  await middle(among.ours, 5 * COMMANDS_PER_BATCH)
  const [direct, added, byNginx]: number[][] = [[], [], []]
  for (let batch = 0; batch < BATCHES; batch++) {
    const base = await middle(among.direct, COMMANDS_PER_BATCH)
    direct?.push(base)
    added?.push((await middle(among.ours, COMMANDS_PER_BATCH)) - base)
    if (among.nginx) byNginx?.push((await middle(among.nginx, COMMANDS_PER_BATCH)) - base)
  }
  const nginx = among.nginx ? `, nginx adds ${median(byNginx ?? []).toFixed(3)}` : ""
  return {
    name: `${name}: added to ${median(direct ?? []).toFixed(3)} directly${nginx}`,
    unit: "ms",
    ours: added ?? [],
    peer: null,
    target: { kind: "at most", value: 0.3 },
  }
}

function bodyCommands(sizes: readonly number[]): string[] {
  const distance = (uid: number) => Math.abs((sizes[uid - 1] ?? 0) - BODY_OCTETS)
  const uids = sizes.map((_, index) => index + 1).sort((a, b) => distance(a) - distance(b))
  return uids.slice(0, BODY_MESSAGES).map((uid) => `UID FETCH ${uid} BODY.PEEK[]`)
}

/** Connections of one command each, full handshakes. */
/** As configured unless one says otherwise, and with a login at the store for each of a client's. */
async function loginsPart(run: Run): Promise<Row[]> {
  await using nginx = await run.site.nginx()
  await using dovecot = await run.site.dovecotProxy()
  const peers = { nginx: nginx && through(nginx, "tls"), dovecot: through(dovecot, "tls") }
  const { eight, one, cpu } = await logIns(run, await run.site.ours("tls"), peers)
  const anew = await logIns(run, await run.site.ours("tls", { keepSeconds: 0 }), { ...peers, nginx: null })
  const without = "a login at the store for each"
  return [
    against("Dovecot's proxy", `logins, TLS, ${CLIENTS} clients`, "logins/s", eight.ours, eight.dovecot, 1),
    against("nginx", `logins, TLS, ${CLIENTS} clients`, "logins/s", eight.ours, eight.nginx, null),
    against("nginx", "logins, TLS, 1 client", "logins/s", one.ours, one.nginx, 5),
    against("Dovecot's proxy", "logins, TLS, 1 client", "logins/s", one.ours, one.dovecot, null),
    against("Dovecot's proxy", "logins, TLS: CPU", LOGIN_CPU_UNIT, cpu.ours, cpu.dovecot, null),
    against("nginx", "logins, TLS: CPU", LOGIN_CPU_UNIT, cpu.ours, cpu.nginx, null),
    against(
      "Dovecot's proxy",
      `logins, TLS, ${CLIENTS} clients, ${without}`,
      "logins/s",
      anew.eight.ours,
      anew.eight.dovecot,
      null,
    ),
    against("Dovecot's proxy", `logins, TLS: CPU, ${without}`, LOGIN_CPU_UNIT, anew.cpu.ours, anew.cpu.dovecot, null),
  ]
}

/** By turns, when all are warm. */
async function logIns(
  { load, rounds }: Run,
  ours: Contestant,
  peers: { readonly nginx: Contestant | null; readonly dovecot: Contestant },
): Promise<Readonly<Record<"eight" | "one" | "cpu", Rates>>> {
  const contestants = { ours, dovecot: peers.dovecot, ...(peers.nginx === null ? {} : { nginx: peers.nginx }) }
  const names = Object.keys(contestants) as (keyof Rates)[]
  const made = { eight: noRates(), one: noRates(), cpu: noRates() }
  const rate = async (name: keyof Rates, clients: number) => {
    const { door, pid } = contestants[name] ?? ours
    const before = cpuSeconds(pid ?? 0)
    const each = await load.run<"logins">({ kind: "logins", door, clients, seconds: LOGIN_SECONDS })
    return { each, spent: ((cpuSeconds(pid ?? 0) - before) * 1000) / (each * LOGIN_SECONDS) }
  }
  for (const name of names) for (let pass = 0; pass < LOGIN_WARM_UPS; pass++) await rate(name, CLIENTS)
  for (let round = 0; round < rounds; round++)
    for (const [clients, rates] of [
      [CLIENTS, made.eight],
      [1, made.one],
    ] as const)
      for (const name of names) {
        const { each, spent } = await rate(name, clients)
        rates[name].push(each)
        made.cpu[name].push(spent)
      }
  return made
}

interface Rates {
  readonly ours: number[]
  readonly nginx: number[]
  readonly dovecot: number[]
}

function noRates(): Rates {
  return { ours: [], nginx: [], dovecot: [] }
}

/** What fresh processes grow by when thousands of connections wait in IDLE. */
async function idlePart({ site, load }: Run): Promise<Row[]> {
  await using nginx = await site.nginx()
  await using dovecot = await site.dovecotProxy()
  const each = async ({ door, pid }: Contestant): Promise<number[]> => {
    const sizes: number[] = []
    for (let count = 0; count < 2; count++) {
      await load.run<"idle">({ kind: "idle", door, connections: IDLE_CONNECTIONS })
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
      sizes.push(pssKilobytes(pid ?? 0))
    }
    await load.run<"leave">({ kind: "leave" })
    const [first = 0, second = 0] = sizes
    return [(second - first) / IDLE_CONNECTIONS]
  }
  const ours = await each(await site.ours("tls"))
  // With the first ones a process takes what it takes once: compiled code, room for its heap.
  const name = `memory of an idle TLS connection, each of the second ${IDLE_CONNECTIONS}`
  const row = against("nginx", name, "KB", ours, nginx ? await each(through(nginx, "tls")) : [], null)
  return [
    { ...row, target: { kind: "at most", value: IDLE_LIMIT_KB } },
    against("Dovecot's proxy", name, "KB", ours, await each(through(dovecot, "tls")), null),
  ]
}

/** Prints the functions with the most time of their own, and gives no rows. */
function partNamed(part: string): ((run: Run) => Promise<Row[]>) | undefined {
  const profile = PROFILES[part]
  return profile === undefined ? PARTS[part] : (run) => profilePart(run, profile)
}

async function profilePart(
  run: Run,
  { warmUp, pass }: { readonly warmUp: number; readonly pass: Pass },
): Promise<Row[]> {
  const ours = await run.site.ours("tls", { preload: ["imap-profiler.ts"] })
  const speeds: string[] = []
  for (let count = 0; count < warmUp; count++) speeds.push(await pass(run, ours))
  const processes = tree(ours.pid ?? 0)
  for (const pid of processes) process.kill(pid, "SIGUSR2")
  for (let count = 0; count < run.rounds; count++) speeds.push(await pass(run, ours))
  for (const pid of processes) process.kill(pid, "SIGUSR2")
  for (const profile of await run.site.profiles(processes.length)) console.log(selfTimes(JSON.parse(profile)))
  console.log(`each pass, ${warmUp} to warm up: ${speeds.join(", ")}`)
  return []
}

async function fetchPass(run: Run, ours: Contestant): Promise<string> {
  const fetches = new Fetches()
  await fetches.add(run, ours, CLIENTS)
  return `${fetches.megabytes[0]?.toFixed(0)} MB/s`
}

async function loginsPass({ load }: Run, { door }: Contestant): Promise<string> {
  const rate = await load.run<"logins">({ kind: "logins", door, clients: CLIENTS, seconds: LOGIN_SECONDS })
  return `${rate.toFixed(0)} logins/s`
}

/** A peer without values is not there: then nothing is compared, and the row says so. */
function against(
  peer: string,
  name: string,
  unit: string,
  ours: readonly number[],
  values: readonly number[],
  ratio: number | null,
): Row {
  if (values.length === 0) return { name: `${name} (no ${peer} here to compare)`, unit, ours, peer: null, target: null }
  const target = ratio === null ? null : ({ kind: "ratio at least", value: ratio } as const)
  return { name, unit, ours, peer: { name: peer, values }, target }
}

if (import.meta.main) {
  const words = process.argv.slice(2)
  const rounds = words.find((word) => word.startsWith("rounds="))?.slice("rounds=".length)
  const parts = words.filter((word) => !word.startsWith("rounds="))
  const unknown = parts.filter((part) => !(part in PARTS) && !(part in PROFILES))
  if (unknown.length > 0) {
    console.error(
      `imap: ${unknown.join(", ")}: unknown; there are ${[...Object.keys(PARTS), ...Object.keys(PROFILES)].join(", ")}`,
    )
    process.exit(2)
  }
  await bench(parts.length > 0 ? parts : undefined, rounds === undefined ? undefined : Number(rounds), (row) =>
    console.log(format(row)),
  )
}
