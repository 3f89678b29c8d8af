import { enableCompileCache } from "node:module"
import { fileURLToPath } from "node:url"

// Half of a command's time is reading the program. Beside the program, not in /tmp: whoever can write there can change the program as
// well. Where nothing can be written, nothing is kept.
enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/postern", import.meta.url)))
const { buildProgram } = await import("./cli/program.ts")

// The server's parts are loaded by the commands that run them, so that the others start quickly.
process.exitCode = await buildProgram({
  serve: async (configPath, roles) => (await import("./wire.ts")).serve(configPath, roles),
  demo: async (options) => (await import("./wire.ts")).demo(options),
  tryUpstream: async (config, account) => (await import("./wire.ts")).tryUpstream(config, account),
  remoteStore: async (config, account) => (await import("./wire/remote-store.ts")).remoteStore(config, account),
}).run(process.argv.slice(2))
