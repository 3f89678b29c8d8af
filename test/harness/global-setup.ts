/** The whole suite talks to loopback only and must never inherit an administrator's instance. */
export default function setup(): void {
  process.env["NODE_ENV"] = "test"
  delete process.env["POSTERN_PASSPHRASE_FILE"]
}
