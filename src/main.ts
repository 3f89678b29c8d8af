import { buildProgram } from "./cli/program.ts"

// The server's parts are loaded by the two commands that run it, so that the others start quickly.
process.exitCode = await buildProgram({
  serve: async (configPath, roles) => (await import("./wire.ts")).serve(configPath, roles),
  demo: async (options) => (await import("./wire.ts")).demo(options),
}).run(process.argv.slice(2))
