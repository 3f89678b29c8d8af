import { afterAll, beforeAll } from "vitest"
import type { Upstream } from "../../src/imap-proxy/ports.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { embedded } from "./rig.ts"

/** An embedded store for the tests of a file: made before them, gone behind them. */
export function embeddedForFile(): Upstream {
  const everything = new AsyncDisposableStack()
  let store: ReturnType<typeof embedded> | null = null
  beforeAll(async () => {
    store = everything.use(embedded(everything.use(await temporaryFolder()).path))
  })
  afterAll(() => everything.disposeAsync())
  return {
    connect: (...of) => {
      if (store === null) throw new Error("the store is not there yet")
      return store.upstream.connect(...of)
    },
  }
}
