import type { Command } from "commander"
import { readBasePort } from "./ports.ts"
import { optionsOf, type Shell } from "./shell.ts"

/** First port of the demonstration: 25 with room. */
const DEMO_PORT = 25_000

/** `postern demo`. */
export function registerDemo(program: Command, shell: Shell): void {
  program
    .command("demo")
    .description(
      "Make an instance in ./var with two people, send mail through it, show what happens, and keep running.",
    )
    .option(
      "--port <number>",
      "first of seven neighbouring ports on loopback, of a new instance",
      readBasePort,
      DEMO_PORT,
    )
    .option("--fresh", "throw an earlier demonstration away", false)
    .action(async (_options: unknown, command: Command) => {
      const { port, fresh } = optionsOf<{ readonly port: number; readonly fresh: boolean }>(command)
      shell.exitWith(await shell.starters.demo({ port, fresh }))
    })
}
