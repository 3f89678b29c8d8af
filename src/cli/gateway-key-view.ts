import { fitnessOf } from "../identity/gateway-certificate.ts"
import { gatewayKeyFingerprint } from "../identity/gateway-key.ts"
import type { Account } from "../store/account.ts"
import type { GatewayKey } from "../store/gateway-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"

/** A key as it may be shown. */
export function gatewayKeyView(key: GatewayKey, account: Account) {
  return {
    account: key.account,
    id: key.id,
    format: key.format,
    state: signingKeyState(key),
    fingerprint: gatewayKeyFingerprint(key),
    madeAt: key.madeAt.toISOString(),
    activeAt: key.activeAt?.toISOString() ?? null,
    retiredAt: key.retiredAt?.toISOString() ?? null,
    notAfter: endOf(key, account)?.toISOString() ?? null,
  }
}

/** null: it is not certified, or may not sign any more. */
function endOf(key: GatewayKey, account: Account): Date | null {
  const fitness = key.certificate === null ? null : fitnessOf(key, key.certificate, account, new Date())
  return fitness?.kind === "fit" ? fitness.until : null
}

/** `active since 2026-11-26, until 2028-11-25`. */
export function stateText(view: ReturnType<typeof gatewayKeyView>): string {
  const since = view.retiredAt ?? view.activeAt ?? view.madeAt
  const until = view.notAfter === null ? "" : `, until ${view.notAfter.slice(0, 10)}`
  return `${view.state} since ${since.slice(0, 10)}${until}`
}
