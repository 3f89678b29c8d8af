/** PURE
 * A message whose exact size is known and whose octets can be had as often as asked, always the same ones. */
export interface Prepared {
  readonly sizeOctets: number
  content(): AsyncIterable<Uint8Array>
  /** The same octets in one reading, where {@link content} takes two: for who can still write at the beginning when he has come to the end. */
  readonly once?: () => ReadOnce
}

export interface ReadOnce {
  /** Blanks stand for what is missing. Each piece is good until the next is asked for. */
  readonly content: AsyncIterable<Uint8Array>
  /** Line ends in it that lack their CR. */
  readonly bareLineEnds: number
  /** What belongs where they stand. Asked once, when all has been read. */
  missing(): Missing
}

export interface Missing {
  readonly at: number
  readonly octets: Uint8Array
}

/** Up to this size a message is held in memory while it is worked on; larger ones are read from the spool twice. */
export const WHOLE_OCTETS = 1_048_576

/** A prepared message whose octets are at hand. */
export function preparedOf(...parts: readonly Uint8Array[]): Prepared {
  return {
    sizeOctets: parts.reduce((sum, part) => sum + part.length, 0),
    async *content() {
      yield* parts
    },
  }
}

/** The message, read into memory when it is a small one. */
export async function atHand(message: Prepared): Promise<Prepared> {
  return message.sizeOctets <= WHOLE_OCTETS ? preparedOf(await collect(message.content())) : message
}

/** `head`, then what `tail` yields. */
export function prefixed(head: readonly Uint8Array[], tail: Prepared): Prepared {
  return {
    sizeOctets: head.reduce((sum, part) => sum + part.length, 0) + tail.sizeOctets,
    async *content() {
      yield* head
      yield* tail.content()
    },
  }
}

/** The message without its first `skipOctets`. */
export function behind(message: Prepared, skipOctets: number): Prepared {
  return {
    sizeOctets: message.sizeOctets - skipOctets,
    async *content() {
      let skip = skipOctets
      for await (const part of message.content()) {
        if (skip < part.length) yield part.subarray(skip)
        skip = Math.max(0, skip - part.length)
      }
    },
  }
}

/** All octets of a message in one piece; for messages up to {@link WHOLE_OCTETS}. */
export async function collect(content: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of content) parts.push(part)
  return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts)
}
