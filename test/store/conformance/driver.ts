import type { State } from "../../../src/store/database.ts"
import type { StatePlace } from "../../../src/store/state.ts"

/** A driver of the state under test. */
export interface StateDriver {
  readonly name: string
  /** @param data a folder of the test's own */
  empty(data: string): Promise<TestState>
}

/** An empty state, open. */
export interface TestState extends AsyncDisposable {
  readonly state: State
  /** Opens the same a second time, as another process would. */
  readonly place: StatePlace
  /** Whether these octets stand anywhere in what is kept. */
  holds(octets: Uint8Array): Promise<boolean>
}
