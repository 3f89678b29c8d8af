import { buildProgram } from "./cli/program.ts"
import { demo, serve } from "./wire.ts"

process.exitCode = await buildProgram({ serve, demo }).run(process.argv.slice(2))
