import { sha256 } from "../crypto/primitives/hash.ts"

/** Names a message of ours after what it is about, as a spool id: submitted twice it is one message ({@link Reports.submit}). */
export function reportName(...parts: readonly string[]): string {
  return Buffer.from(sha256(Buffer.from(JSON.stringify(parts))))
    .toString("hex")
    .slice(0, 24)
}
