import { join, relative } from "node:path"
import { BaseSequencer, type TestSpecification } from "vitest/node"

/**
 * Starts the files that take longest before the others, so that the end of a run is not one long file on one core. The sequencer of vitest
 * does so only where it ran before, which a CI has not.
 */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rest = await super.sort(files)
    return rest.toSorted((one, other) => placeOf(one) - placeOf(other))
  }
}

function placeOf({ moduleId }: TestSpecification): number {
  const place = LONGEST.indexOf(relative(TESTS, moduleId))
  return place === -1 ? LONGEST.length : place
}

const TESTS = join(import.meta.dirname, "..")

/** Measured in November 2026, the longest first; which of them is before which hardly matters. */
const LONGEST = [
  "interop/thunderbird.test.ts",
  "flow/acme.test.ts",
  "flow/imap-processes.test.ts",
  "interop/internet/mesh-attacks.test.ts",
  "interop/dovecot.test.ts",
  "flow/machines.test.ts",
  "flow/reload.test.ts",
  "interop/internet/mesh-contacts.test.ts",
  "interop/internet/mesh-kills.test.ts",
  "flow/dkim.test.ts",
  "flow/several-machines.test.ts",
  "flow/authentication.test.ts",
  "scan/talks.test.ts",
  "cli/offline.test.ts",
  "store/postgres/spool.test.ts",
  "interop/internet/leaving.test.ts",
  "interop/internet/mesh-thunderbird.test.ts",
  "interop/internet/mesh.test.ts",
  "flow/kill.test.ts",
]
