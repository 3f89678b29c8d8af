import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/harness/global-setup.ts"],
    // Interop tests start real servers; a stuck one must fail, not hang the run.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    // Files share the modules of a worker: no module of ours has state, and a process and all imports anew for each of 140 files are 70 s of CPU.
    isolate: false,
    // Two cores are busy with four: files wait for other programs half of the time.
    maxWorkers: 4,
  },
})
