import { once } from "node:events"
import { parentPort, workerData } from "node:worker_threads"
import { silentLog } from "../../src/log/log.ts"
import { RedisServer } from "../../src/queue/redis/server.ts"

// A thread that has the server at `workerData` until it is told to end; it is over when nothing is left that it waits for.
const server = await RedisServer.connect({ kind: "redis", url: workerData, password: null, caFile: null }, silentLog())
parentPort?.postMessage(server.isThere)
if (parentPort) await once(parentPort, "message")
await server[Symbol.asyncDispose]()
