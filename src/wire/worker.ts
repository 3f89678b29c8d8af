import { isNonAscii } from "../message/address.ts"
import type { Forwarding, Reports } from "../pipeline/ports.ts"
import type { Handler, Queue } from "../queue/queue.ts"
import type { Core } from "./core.ts"
import { type MessageQueue, spoolOnce, whole } from "./spool-once.ts"

/** Works the queue until `signal` ends and the attempts under way are settled. */
export function work(core: Core, queue: Queue, attempt: Handler, signal: AbortSignal): Promise<void> {
  const counted: Handler = async (job, ending) => {
    const outcome = await attempt(job, ending)
    const word = outcome.kind === "done" && outcome.isDropped ? "dropped" : outcome.kind
    core.counters.add("postern_deliveries_total", { outcome: word })
    return outcome
  }
  return queue.work(counted, { concurrency: core.config.limits.deliveries, signal })
}

/** Reports go the way of all mail: sealed into the spool, then the queue. */
export function reportsOf(core: Core, queue: MessageQueue): Reports {
  return {
    async submit({ name, to, octets, requireTls }) {
      const receivedAt = core.now()
      const { hostname } = core.config
      const envelope = {
        sender: null,
        recipients: [{ address: to, notify: ["NEVER"] as const, originalRecipient: null }],
        smtpUtf8: isNonAscii(to),
        ...(requireTls ? { requireTls } : {}),
        envelopeId: null,
        returnContent: null,
      }
      const origin = {
        kind: "submission" as const,
        account: null,
        device: null,
        remote: "",
        helo: hostname,
        tls: false,
      }
      const received = `Received: by ${hostname} (Postern) id ${name};\r\n ${receivedAt.toUTCString().replace("GMT", "+0000")}\r\n`
      const { queued } = await spoolOnce(core, queue, name, { envelope, origin, received, receivedAt }, whole(octets))
      await queued
    },
  }
}

/** What aliases send on goes that way, too. */
export function forwardingOf(core: Pick<Core, "spool">, queue: MessageQueue): Forwarding {
  return {
    async submit(id, entry, content) {
      const { queued } = await spoolOnce(core, queue, id, entry, content)
      await queued
    },
  }
}
