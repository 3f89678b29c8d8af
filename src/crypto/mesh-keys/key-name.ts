import type { CfrgCurve } from "./key.ts"

/** Whether a key is the whole one, or one of two that are added. */
export type KeyPart = "Complete" | "Base" | "Activation"
export type KeyActor = "Account" | "Member" | "Device" | "Service" | "Host"
export type KeyOperation = "Encrypt" | "Sign" | "Authenticate" | "Profile" | "AdminEncrypt" | "AdminSign" | "Escrow"

/** The name that a profile's key is derived with: `BaseDeviceEncrypt`. The text of the drafts puts underscores between the parts; nothing published has them. */
export function profileKeyName(part: KeyPart, actor: KeyActor, operation: KeyOperation): string {
  return `${part}${actor}${operation}`
}

/** The curve of a profile's key, where nobody chose another: Ed448 for what signs, X448 for what is agreed with. */
export function profileKeyCurve(operation: KeyOperation): CfrgCurve {
  return SIGNING.includes(operation) ? "Ed448" : "X448"
}

const SIGNING: readonly KeyOperation[] = ["Sign", "Profile", "AdminSign"]
