import type { Config, ScanConfig } from "../config/config.ts"
import { clamd } from "../scan/clamd.ts"
import { hook } from "../scan/hook.ts"
import { rspamd } from "../scan/rspamd.ts"
import type { Program } from "../scan/scanner.ts"
import { Scanners } from "../scan/scanners.ts"
import type { Scanner } from "../smtp-in/ports.ts"

/**
 * What looks at the content of arriving mail, as configured.
 * @returns null when nobody does at this kind of listener
 */
export function scannerOf(config: Config, listener: "mx" | "submission"): Scanner | null {
  const { scan, hostname } = config
  const programs = programsOf(scan)
  if (programs.length === 0 || !scan.listeners.includes(listener)) return null
  return new Scanners(programs, { ...scan, authservId: hostname })
}

export function programsOf({ clamd: place, rspamd: root, hook: url }: ScanConfig): readonly Program[] {
  return [
    ...(place === null ? [] : [clamd(place)]),
    ...(root === null ? [] : [rspamd(new URL(root))]),
    ...(url === null ? [] : [hook(new URL(url))]),
  ]
}
