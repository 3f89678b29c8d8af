import { internetPossible } from "../harness/internet.ts"
import { soakBulk } from "./bulk.ts"
import { holdIdle, type IdleFigures } from "./idle.ts"
import { faults, killAgainAndAgain } from "./kill.ts"
import { killMachines, machineFaults, repeated, storyOf, VICTIMS } from "./machines.ts"
import { soakMail, type Tenth } from "./mail.ts"
import { killMeshGateways } from "./mesh.ts"

/**
 * `npm run soak [kills=N]`: a thousand crashes unless told otherwise; takes about two seconds each.
 * `npm run soak machines [kills=N] [victims=one,two,redis,postgres]`: two gateways on one PostgreSQL and one Redis; takes some five seconds each.
 * `npm run soak mesh [kills=N]`: two gateways with the Mesh between, each killed by turns; takes some three seconds each. Needs what `interop/internet` needs.
 * `npm run soak bulk [octets=N]`: one mail of 1 GB over the Mesh, its content compared as the recipient's device opens it; memory may grow by 200 MiB. Needs the
 * same, and takes a minute or two.
 * `npm run soak mail [messages=N] [large=PERCENT] [octets=N] [largeOctets=N]`: memory and the age of the queue under mail; 100,000 messages of 10 KB, one in
 * ten of 10 MB, unless told otherwise, which takes an hour or so. Needs Postfix's smtp-source.
 * `npm run soak idle [connections=N] [minutes=M] [processes=P] [group=X25519]`: connections held idle, new mail seen by them; M below 29.
 */
const words = process.argv.slice(2)
/** Memory may grow by so much from the second tenth, when all is warm, to the last. */
const GROWTH = 1.2
/** Of either gateway, while a mail of any length goes over the Mesh. */
const BULK_GROWTH_MIB = 200
const soaks = { bulk, idle, machines, mesh, mail, kill }
const what = words.find((one): one is keyof typeof soaks => Object.hasOwn(soaks, one)) ?? "kill"
const unknown = words.find(
  (one) =>
    one !== what &&
    !/^(kills|victims|messages|large|octets|largeOctets|connections|minutes|processes|group)=/.test(one),
)
if (unknown !== undefined) throw new Error(`soak: ${unknown}: not understood`)
await soaks[what]()

function kill(): Promise<void> {
  return counted(parameter("kills", 1_000), killAgainAndAgain)
}

async function mesh(): Promise<void> {
  if (!internetPossible) throw new Error("soak: mesh needs a network of its own: root, and ip")
  await counted(parameter("kills", 100), killMeshGateways)
}

async function bulk(): Promise<void> {
  if (!internetPossible) throw new Error("soak: bulk needs a network of its own: root, and ip")
  const octets = parameter("octets", 1_000_000_000)
  const { seconds, grownMib, sent, opened, open } = await soakBulk(octets)
  console.log(
    `${octets} octets from submission to the mailbox in ${seconds.toFixed(1)} s, memory grew by ${grownMib.toFixed(0)} MiB at most; ` +
      `SHA-256 sent ${sent}, opened by the device ${opened}; in ${open.length} files of both data/ in clear`,
  )
  if (sent !== opened || open.length > 0 || grownMib > BULK_GROWTH_MIB) process.exitCode = 1
}

async function counted(kills: number, killing: typeof killAgainAndAgain): Promise<void> {
  const start = performance.now()
  const ledger = await killing(kills, (count) => {
    if (count % 10 === 0)
      process.stderr.write(`\r${count} of ${kills} crashes, ${((performance.now() - start) / 1000).toFixed(0)} s`)
  })
  process.stderr.write("\n")
  const { lost, doubled, invented } = faults(ledger)
  console.log(
    `${ledger.kills} crashes: ${ledger.acknowledged.size} messages answered 250, ${ledger.unanswered.size} cut off, ${ledger.stored.size} stored; ` +
      `${lost.length} lost, ${doubled.length} doubled, ${invented.length} from nowhere`,
  )
  if (lost.length + doubled.length + invented.length === 0) return
  console.error({ lost, doubled, invented })
  process.exitCode = 1
}

async function machines(): Promise<void> {
  const kills = parameter("kills", 100)
  const asked = word("victims")?.split(",") ?? VICTIMS
  const victims = VICTIMS.filter((victim) => asked.includes(victim))
  const start = performance.now()
  const ledger = await killMachines(kills, victims, (count) => {
    process.stderr.write(`\r${count} of ${kills} crashes, ${((performance.now() - start) / 1000).toFixed(0)} s`)
  })
  process.stderr.write("\n")
  const { lost, doubled, invented } = machineFaults(ledger)
  const { pairs, unbalanced } = ledger.recorded
  console.log(
    `${ledger.crashes.length} crashes (${victims.join(", ")}): ${ledger.acknowledged.size} messages answered 250, ${ledger.unanswered.size} cut off, ` +
      `${ledger.received.size} arrived, ${repeated(ledger)} of them again after a crash; ${lost.length} lost, ${doubled.length} doubled, ` +
      `${invented.length} from nowhere; ${pairs} in the record, ${unbalanced} of them not ended once`,
  )
  if (lost.length + doubled.length + invented.length + unbalanced === 0) return
  console.error({ lost, invented })
  for (const id of doubled) console.error(storyOf(id, ledger))
  process.exitCode = 1
}

async function mail(): Promise<void> {
  const load = {
    messages: parameter("messages", 100_000),
    largePercent: parameter("large", 10),
    octets: parameter("octets", 10_240),
    largeOctets: parameter("largeOctets", 10_000_000),
  }
  if (load.messages % 10 !== 0) throw new Error(`soak: messages=${load.messages}: must be a multiple of 10`)
  const { tenths, arrived } = await soakMail(load, (tenth) => console.log(toldTenth(tenth)))
  const [, warm, ...later] = tenths
  const growth = (later.at(-1)?.medianMib ?? 0) / (warm?.medianMib ?? 0)
  console.log(
    `${arrived} of ${load.messages} arrived; memory of the last tenth: ${growth.toFixed(2)} times that of the second`,
  )
  if (arrived !== load.messages || growth > GROWTH) process.exitCode = 1
}

function toldTenth({ seconds, medianMib, peakMib, oldestSeconds }: Tenth): string {
  const memory = `memory ${medianMib.toFixed(0)} MiB at the median, ${peakMib.toFixed(0)} at most`
  return `${seconds.toFixed(0)} s; ${memory}; no message older than ${oldestSeconds.toFixed(1)} s`
}

async function idle(): Promise<void> {
  const minutes = parameter("minutes", 5)
  const figures = await holdIdle({
    connections: parameter("connections", 1_000),
    holdMs: minutes * 60_000,
    processes: parameter("processes", 2),
    group: word("group"),
  })
  for (const line of told(figures)) console.log(line)
  const { asked, held, lost, announced } = figures
  if (held === asked && lost === 0 && announced.every(({ seen }) => seen === asked)) return
  for (const reason of figures.reasons) console.error(reason)
  process.exitCode = 1
}

function told(figures: IdleFigures): string[] {
  const { asked, held, lost, logInSeconds, heldSeconds, pssKib, announced } = figures
  const each = (kib: number): string => ((kib - pssKib.before) / Math.max(1, held)).toFixed(1)
  const seen = announced.map((one) => `${one.seen}${one.ms === null ? "" : ` within ${one.ms.toFixed(0)} ms`}`)
  return [
    `${asked} connections asked for, ${held} held, ${lost} lost`,
    `logged in within ${logInSeconds.toFixed(1)} s, held for ${heldSeconds.toFixed(1)} s`,
    `new mail seen by ${seen[0]} at the beginning, by ${seen[1]} at the end`,
    `PSS of the gateway: ${pssKib.before} KiB without, ${pssKib.idling} KiB with them, ${pssKib.held} KiB in the end; ` +
      `${each(pssKib.idling)} KiB for each, ${each(pssKib.held)} KiB in the end`,
  ]
}

/** What stands behind `name=` among the words; null: nothing. */
function word(name: string): string | null {
  return words.find((candidate) => candidate.startsWith(`${name}=`))?.slice(name.length + 1) ?? null
}

function parameter(name: string, otherwise: number): number {
  const given = word(name)
  const value = given === null ? otherwise : Number(given)
  if (!(value > 0)) throw new Error(`soak: ${name}=${given}: must be a number above 0`)
  return value
}
