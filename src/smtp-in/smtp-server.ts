import { createRequire } from "node:module"

const require = createRequire(import.meta.url)

// Required, not imported: as a module smtp-server imports node:http, which is dear (net/http.ts).
export const { SMTPServer } = require("smtp-server") as typeof import("smtp-server")
export type SMTPServer = InstanceType<typeof SMTPServer>
export const { SMTPConnection } =
  require("smtp-server/lib/smtp-connection.js") as typeof import("smtp-server/lib/smtp-connection.js")
export const { SMTPStream } =
  require("smtp-server/lib/smtp-stream.js") as typeof import("smtp-server/lib/smtp-stream.js")
