import { waitForAcks } from "../store/presence.ts"
import type { OpenInstance } from "./shell.ts"

/** How long a running process has to end what a revoked device has open. */
const CONFIRM_MS = 1_000

/**
 * Waits until every running process that lets devices in has reacted to the last change.
 * @throws GatewayError NOT_CONFIRMED naming those that have not
 */
export function confirmChange({ database, people }: Pick<OpenInstance, "database" | "people">): Promise<void> {
  return waitForAcks(database, people.changeSequence(), CONFIRM_MS, () => new Date())
}
