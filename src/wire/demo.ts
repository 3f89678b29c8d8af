import { existsSync, readFileSync, rmSync } from "node:fs"
import { join, resolve } from "node:path"
import { loadConfig } from "../config/load.ts"
import { GatewayError } from "../errors.ts"
import { ROLES } from "./core.ts"
import { sendSamples } from "./demo-mail.ts"
import { DemoPeople } from "./demo-people.ts"
import { showDevices, showDisk, showRevocation, showSettings } from "./demo-scenes.ts"
import { Screen } from "./demo-screen.ts"
import { startServer } from "./serve.ts"

/** Options of `postern demo`. */
export interface DemoOptions {
  /** First of seven neighbouring ports. */
  readonly port: number
  /** Throw an earlier demonstration away. */
  readonly fresh: boolean
}

/** How long the drain may take when the demonstration ends. */
const DRAIN_MS = 10_000

/** Makes an instance in ./var, sends mail through it, shows what happens to it, and keeps running until a signal. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const folder = resolve("var")
  if (options.fresh) throwAway(folder)
  const stop = new Promise<void>((done) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => done())
  })
  const screen = new Screen(process.stdout)
  screen.title("Postern", "mail is encrypted on arrival, and recrypted for each device on reading")
  const people = new DemoPeople(folder, screen)
  await people.prepare(options.port)
  const config = loadConfig(join(folder, "postern.toml"), process.cwd())
  const port = config.listen.mx?.port
  if (port !== options.port)
    screen.note(`It listens on port ${port} and those above, as it was made. Others: --fresh --port N`)
  await using server = await listening(startServer({ ...config, logLevel: "error" }, new Set(ROLES)))

  const sent = await sendSamples(config, screen)
  await showDisk(config, sent, screen)
  await showDevices(people, config, sent, screen)
  await showRevocation(people, config, sent, screen)
  showSettings(people, config, screen)
  process.stdout.write(`postern ready ${server.listeners.join(" ")}\n`)
  await stop
  screen.line("")
  await server.drain(DRAIN_MS)
  return 0
}

/** An instance that is kept keeps its ports, too. */
async function listening<T>(server: Promise<T>): Promise<T> {
  try {
    return await server
  } catch (cause) {
    if (!(cause instanceof GatewayError) || cause.code !== "LISTEN_FAILED") throw cause
    throw new GatewayError("LISTEN_FAILED", `${cause.message}; for other ports: --fresh --port N`, { cause })
  }
}

/** Only what this command made may be thrown away. */
function throwAway(folder: string): void {
  if (!existsSync(folder)) return
  const file = join(folder, "postern.toml")
  if (!existsSync(file) || !readFileSync(file, "utf8").includes("example.test"))
    throw new GatewayError("USAGE", `${folder}: is no demonstration instance; it is left alone`)
  rmSync(folder, { recursive: true })
}
