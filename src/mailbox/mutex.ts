/** Lets one piece of work run after the other, in the order asked for. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    // The next one waits for the end, whatever it was; the failure belongs to the caller of run.
    this.#last = result.then(
      () => undefined,
      () => undefined,
    )
    return result
  }
}
