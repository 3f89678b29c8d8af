import type { Config } from "../config/config.ts"
import { parseAddress } from "../message/address.ts"
import type { ScannerFinding } from "../scan/decide.ts"
import { Scanners } from "../scan/scanners.ts"
import { programsOf } from "./scanner.ts"

/** Shows a message with nothing in it to every scanner that is configured, as one that arrives would be. */
export async function showScanners({ scan, hostname, domains }: Config): Promise<readonly ScannerFinding[]> {
  const to = parseAddress(`postmaster@${domains[0] ?? hostname}`)
  const facts = { sender: null, recipients: [to], remote: "127.0.0.1", helo: hostname, account: null, id: "check" }
  const scanning = new Scanners(programsOf(scan), { ...scan, authservId: hostname }).begin(facts)
  try {
    await scanning.push(
      Buffer.from(`From: postmaster@${to.domain}\r\nSubject: postern check\r\n\r\nIs anybody there?\r\n`),
    )
    return (await scanning.end()).findings
  } finally {
    scanning.cancel()
  }
}
