import { globSync, readFileSync } from "node:fs"
import { defineConfig } from "vitest/config"
import { LongestFirst } from "./test/harness/longest-first.ts"

const TESTS = "test/**/*.test.ts"

/** Files that measure the memory of their process: what other files leave in it must not be measured with theirs. */
const measuring = globSync(TESTS, { cwd: import.meta.dirname }).filter((file) =>
  /memoryUsage|expose_gc|conformance\/spool/.test(readFileSync(`${import.meta.dirname}/${file}`, "utf8")),
)

export default defineConfig({
  test: {
    globalSetup: ["test/harness/global-setup.ts"],
    // Interop tests start real servers; a stuck one must fail, not hang the run. A busy machine is no reason to fail.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    // Two cores are busy with four: files wait for other programs half of the time.
    maxWorkers: 4,
    // Node loads tests and program as it loads the program for users (types stripped, found compiled): nothing here is mocked or injected, and
    // what Vite does to a module costs three times what Node does.
    experimental: { viteModuleRunner: false, nodeLoader: false },
    sequence: { sequencer: LongestFirst },
    projects: [
      // Files share the modules of a worker: no module of ours has state, and a process and all imports anew for each of 250 files are 70 s
      // of CPU.
      { extends: true, test: { name: "shared", include: [TESTS], exclude: measuring, isolate: false } },
      { extends: true, test: { name: "alone", include: measuring, isolate: true, execArgv: ["--expose-gc"] } },
    ],
  },
})
