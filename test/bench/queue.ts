import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { Instance } from "../harness/instance.ts"
import { Redis } from "../harness/redis.ts"
import type { Row } from "./report.ts"
import { GENERATED, round as send } from "./smtp.ts"

const ROUNDS = 3
const MESSAGES = 3_000
const WARM_UP = 500

/** 10 KB mail end to end with the queue in Redis (AOF, every second) against the embedded one. Rounds alternate, so that both meet the same weather. */
export async function bench(): Promise<Row[]> {
  await using redis = await Redis.start({ appendfsync: "everysec" })
  await using inRedis = await served((gateway) =>
    gateway.configure("[limits]", `[queue]\nurl = "${redis.url}"\n[limits]`),
  )
  await using embedded = await served(() => undefined)
  const rates = { inRedis: [] as number[], embedded: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    rates.inRedis.push(await rate(inRedis, MESSAGES))
    rates.embedded.push(await rate(embedded, MESSAGES))
  }
  return [
    {
      name: "10 KB mail end to end with the queue in Redis against the embedded queue",
      unit: "messages/s",
      ours: rates.inRedis,
      peer: { name: "embedded", values: rates.embedded },
      target: { kind: "ratio at least", value: 0.7 },
    },
  ]
}

async function served(configure: (gateway: Instance) => void): Promise<Instance> {
  const gateway = await Instance.create()
  configure(gateway)
  await gateway.must("account", "add", "alice@example.test")
  await gateway.serve()
  await rate(gateway, WARM_UP)
  return gateway
}

async function rate(gateway: Instance, messages: number): Promise<number> {
  const inbox = join(gateway.maildir("alice@example.test"), "new")
  const target = count(inbox) + messages
  return (await send(gateway.port, messages, () => count(inbox) >= target, GENERATED)).endToEnd
}

/** The folder is made with the first message. */
function count(folder: string): number {
  return existsSync(folder) ? readdirSync(folder).length : 0
}
