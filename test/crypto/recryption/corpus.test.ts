import { readdirSync, readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { EncryptionClassifier } from "../../../src/mime/classify.ts"
import { CHUNKINGS, feed, text } from "./feeding.ts"

const FOLDER = "test/corpus/encrypted"

/** What the classifier leaves as it came must be readable on every device: then its block must be found. */
for (const name of readdirSync(FOLDER).filter((file) => file.endsWith(".eml")))
  test(`${name}: unchanged for strangers; its block is found when it counts as encrypted`, () => {
    const message = new Uint8Array(readFileSync(`${FOLDER}/${name}`))
    const classifier = new EncryptionClassifier()
    classifier.push(message)
    const kind = classifier.end()
    for (const sizes of CHUNKINGS) {
      const { octets, counts } = feed([], message, sizes)
      expect(text(octets)).toBe(text(message))
      expect(counts.malformed).toBe(0)
      if (kind !== "clear") expect(counts.foreign).toBe(1)
    }
  })
