import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { silentLog } from "../../src/log/log.ts"
import { openEmbeddedAudit } from "../../src/queue/embedded-audit.ts"
import { type AuditDriver, auditConformance } from "./audit-conformance.ts"

async function embedded(): Promise<AuditDriver> {
  const folder = mkdtempSync(join(tmpdir(), "postern-audit-"))
  const audit = openEmbeddedAudit(folder, "at once", silentLog())
  return {
    audit,
    async close() {
      await audit[Symbol.asyncDispose]()
      rmSync(folder, { recursive: true })
    },
  }
}

auditConformance("data/queue.db", embedded)
