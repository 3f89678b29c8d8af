import { writeFileSync } from "node:fs"
import { Session } from "node:inspector/promises"
import { join } from "node:path"

/** Preloaded (`--import`) into a gateway of the benchmark: SIGUSR2 starts a CPU profile, the next one writes it to the folder named here. */
const folder = process.env["POSTERN_BENCH_PROFILES"] ?? "."
let session: Session | null = null

process.on("SIGUSR2", () => {
  void (session === null ? begin() : end(session))
})

async function begin(): Promise<void> {
  session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval: 500 })
  await session.post("Profiler.start")
}

async function end(running: Session): Promise<void> {
  session = null
  const { profile } = await running.post("Profiler.stop")
  running.disconnect()
  writeFileSync(join(folder, `${process.pid}.cpuprofile`), JSON.stringify(profile))
}
