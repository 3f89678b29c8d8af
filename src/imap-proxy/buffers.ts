import type { Log } from "../log/log.ts"
import type { Context } from "./context.ts"
import type { Session } from "./session.ts"

/** What may hold octets for a peer that is slower than the other side. */
interface Holder {
  readonly session: Pick<Session, "cut">
  readonly context: Context
}

/** Octets held for slow peers, all sessions together. */
export function bufferedOctets(sessions: Iterable<Holder>): number {
  let octets = 0
  for (const { context } of sessions) octets += held(context)
  return octets
}

/** Cuts the sessions that hold the most, until all others together hold no more than `limitOctets`. */
export function cutLargest(sessions: Iterable<Holder>, limitOctets: number, log: Log): void {
  const holders = [...sessions].map((holder) => ({ ...holder, octets: held(holder.context) }))
  let over = holders.reduce((sum, { octets }) => sum + octets, 0) - limitOctets
  for (const { session, context, octets } of holders.sort((a, b) => b.octets - a.octets)) {
    if (over <= 0) return
    log.warn("imap.buffers", { account: context.device.account, octets })
    session.cut()
    over -= octets
  }
}

function held({ client, upstream }: Context): number {
  let octets = client.heldOctets + upstream.reader.bufferedOctets
  for (const { readableLength, writableLength } of [client.stream, upstream.stream])
    octets += readableLength + writableLength
  return octets
}
