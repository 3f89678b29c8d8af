import type { Entity } from "../mime/structure.ts"
import { StructureParser } from "../mime/structure.ts"
import type { Message } from "./message.ts"
import type { MessageFile } from "./message-file.ts"

/** Entities kept, all messages together: about 2 KB each. */
const MAX_ENTITIES = 20_000

/** MIME structures of messages, found once and kept while there is room; the least recently used goes first. */
export class StructureCache {
  readonly #kept = new Map<Message, { readonly entity: Entity; readonly cost: number }>()
  #cost = 0

  /** The structure of `message`, whose file is open. */
  async of(message: Message, file: MessageFile): Promise<Entity> {
    const known = this.#kept.get(message)
    if (known) {
      this.#kept.delete(message)
      this.#kept.set(message, known)
      return known.entity
    }
    const parser = new StructureParser()
    for await (const octets of file.read(0, file.sizeOctets)) parser.push(octets)
    const entity = parser.end()
    this.#keep(message, entity)
    return entity
  }

  #keep(message: Message, entity: Entity): void {
    const cost = costOf(entity)
    this.#kept.set(message, { entity, cost })
    this.#cost += cost
    for (const [oldest, { cost: freed }] of this.#kept) {
      if (this.#cost <= MAX_ENTITIES) return
      this.#kept.delete(oldest)
      this.#cost -= freed
    }
  }
}

/** Long header fields (a To with a thousand addresses) count as more entities. */
function costOf(entity: Entity): number {
  const own = 1 + Math.floor((entity.bodyStart - entity.headerStart) / 4096)
  const { content } = entity
  if (content.kind === "multipart") return content.parts.reduce((sum, part) => sum + costOf(part), own)
  return content.kind === "message" ? own + costOf(content.message) : own
}
