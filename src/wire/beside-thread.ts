import { flushCompileCache } from "node:module"
import { parentPort } from "node:worker_threads"
import { GatewayError } from "../errors.ts"
import { type Worker, workerOf } from "../pipeline/beside.ts"
import type { Answer, Order } from "./beside.ts"

if (parentPort === null) throw new GatewayError("USAGE", "beside: is a thread of the server")
const port = parentPort
let worker: Worker | null = null

port.on("message", (order: Order) => {
  switch (order.kind) {
    case "work":
      worker = workerOf(order.work)
      return
    case "piece": {
      if (worker === null) throw new GatewayError("USAGE", "beside: there is no work")
      const { input, output } = order
      const octets = worker.update(new Uint8Array(input, 0, order.octets), new Uint8Array(output))
      return port.postMessage({ kind: "piece", input, output, octets } satisfies Answer, [input, output])
    }
    case "end": {
      if (worker === null) throw new GatewayError("USAGE", "beside: there is no work")
      const answer: Answer = { kind: "end", ...worker.end() }
      worker = null
      return port.postMessage(answer)
    }
    default:
      order satisfies never
  }
})

// Now, since a thread that is terminated keeps nothing: the next one need not compile all of this again, which takes 36 MB and 0.2 s.
flushCompileCache()
