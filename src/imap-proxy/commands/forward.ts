import type { Context } from "../context.ts"
import type { PendingCommand } from "../pending.ts"
import type { Command } from "../wire/command-reader.ts"
import type { Segment } from "../wire/tokens.ts"

/** Real pipelines (mbsync) are some dozens deep; beyond that the client is not read until answers come. */
const MAX_IN_FLIGHT = 256

/** Sends a command on as it came, its literals in the form the upstream takes. */
export async function forward(
  context: Context,
  command: Command,
  options: Pick<PendingCommand, "completed"> = {},
): Promise<void> {
  const entry = await enter(context, { tag: command.tag, name: command.name, ...options })
  if (!(await sendSegments(context, entry, command.segments))) return
  context.upstream.write("\r\n")
  await context.upstream.flush()
}

/** Puts a command in flight, when there is room. */
export async function enter(context: Context, entry: PendingCommand): Promise<PendingCommand> {
  await context.pending.below(MAX_IN_FLIGHT)
  context.pending.add(entry)
  return entry
}

/** Writes everything but the line end. @returns false when the upstream answered instead of taking a literal. */
export async function sendSegments(
  context: Context,
  entry: PendingCommand,
  segments: readonly Segment[],
): Promise<boolean> {
  const { upstream } = context
  for (const segment of segments) {
    upstream.write(
      segment.kind === "text" ? segment.octets : `${segment.binary ? "~" : ""}{${literalSize(context, segment)}}\r\n`,
    )
    if (segment.kind === "text") continue
    if (!takesNonSynchronizing(context, segment.size)) {
      await upstream.flush()
      if ((await context.pending.continuation(entry)) === "ended") return false
    }
    upstream.write(segment.octets ?? new Uint8Array(0))
  }
  return true
}

function literalSize(context: Context, segment: Segment & { kind: "literal" }): string {
  return takesNonSynchronizing(context, segment.size) ? `${segment.size}+` : `${segment.size}`
}

/** RFC 7888: LITERAL+ for any size, LITERAL- up to 4096 octets. */
function takesNonSynchronizing(context: Context, size: number): boolean {
  return context.upstream.has("LITERAL+") || (size <= 4096 && context.upstream.has("LITERAL-"))
}
