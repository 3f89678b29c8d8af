import { faults, killAgainAndAgain } from "./kill.ts"

/** `npm run soak [KILLS]`: a thousand crashes unless told otherwise; takes about a second each. */
const kills = Number(process.argv[2] ?? 1_000)
const start = performance.now()
const ledger = await killAgainAndAgain(kills, (count) => {
  if (count % 10 === 0)
    process.stderr.write(`\r${count} of ${kills} crashes, ${((performance.now() - start) / 1000).toFixed(0)} s`)
})
process.stderr.write("\n")
const { lost, doubled, invented } = faults(ledger)
console.log(
  `${ledger.kills} crashes: ${ledger.acknowledged.size} messages answered 250, ${ledger.unanswered.size} cut off, ${ledger.stored.size} stored; ` +
    `${lost.length} lost, ${doubled.length} doubled, ${invented.length} from nowhere`,
)
if (lost.length + doubled.length + invented.length > 0) {
  console.error({ lost, doubled, invented })
  process.exitCode = 1
}
