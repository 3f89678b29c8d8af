import { buildProgram } from "./cli/program.ts"

// The server's parts are loaded by the commands that run them, so that the others start quickly.
process.exitCode = await buildProgram({
  serve: async (configPath, roles) => (await import("./wire.ts")).serve(configPath, roles),
  demo: async (options) => (await import("./wire.ts")).demo(options),
  tryUpstream: async (config, account) => (await import("./wire.ts")).tryUpstream(config, account),
  tryScanners: async (config) => (await import("./wire.ts")).tryScanners(config),
  prospect: async (instance, question) => (await import("./wire/prospect.ts")).prospectOf(instance, question),
  remoteStore: async (config, account) => (await import("./wire/remote-store.ts")).remoteStore(config, account),
}).run(process.argv.slice(2))
