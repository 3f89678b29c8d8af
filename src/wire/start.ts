import { enableCompileCache } from "node:module"
import { fileURLToPath } from "node:url"
import { isMainThread } from "node:worker_threads"

// The first file of each thread and process that the server makes: what it loads is found compiled, as with main.ts, whose cache does not
// reach them. A thread of the worker then takes 0.2 s of CPU less to start, and an IMAP process as much.
enableCompileCache(fileURLToPath(new URL("../../node_modules/.cache/postern", import.meta.url)))
if (isMainThread) await import("./imap-process.ts")
else await import("./hand.ts")
