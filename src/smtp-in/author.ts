/** PURE. Who a From field names, where readers may differ. */
import { withoutComments } from "../mime/comments.ts"

/**
 * True when readers could take another address than mailauth does, which is the first, for that of a mailbox: a second one in angle brackets,
 * or one behind another (RFC 5322 §3.4 has one in each). An address in a display name is not meant: honest programs write that.
 */
export function isAmbiguous(from: string): boolean {
  const bare = (withoutComments(from) ?? from).replace(QUOTED_STRING, "")
  return bare.split(/[,;]/).some((mailbox) => {
    const [before = "", angle = before, second] = mailbox.split("<")
    return second !== undefined || angle.split(/[\s>]+/).filter((word) => word.includes("@")).length > 1
  })
}

const QUOTED_STRING = /"(?:[^"\\]|\\.)*"/gs
