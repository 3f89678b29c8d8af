import type { Address } from "../message/address.ts"
import type { Decision } from "../profiles/decide.ts"
import type { Job } from "../queue/queue.ts"
import type { Gateway } from "./gateway.ts"
import { alarm } from "./key-alarm.ts"
import type { Result } from "./ports.ts"
import { deferred, failed } from "./settle.ts"

/** What becomes of a message that was decided not to leave, or not now. */
export async function keptBack(
  decision: Extract<Decision, { readonly kind: "wait" | "hold" | "refuse" }>,
  job: Job,
  recipient: Address,
  gateway: Gateway,
): Promise<Result> {
  switch (decision.kind) {
    case "wait":
      // Whoever keeps silent must not make it leave in clear, nor come back as undeliverable: at last a person decides.
      return { ...deferred(job.recipient, "4.7.5", decision.because), fault: true }
    case "hold":
      if (decision.alarm !== null) await alarm(decision.alarm, decision.because, job, recipient, gateway)
      return { kind: "hold", reason: decision.because, told: true }
    case "refuse":
      return failed(job.recipient, "5.7.10", decision.because)
    default:
      return decision satisfies never
  }
}
