import "../compile-cache.ts"
import { isMainThread } from "node:worker_threads"

// The first file of each thread and process that the server makes: the cache of main.ts does not reach them.
if (isMainThread) await import("./imap-process.ts")
else await import("./hand.ts")
