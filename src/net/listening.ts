import { systemCode, systemReason } from "../store/durable.ts"

/** Why nobody can listen on this port, in the system's words, and what it takes where that is a right. */
export function whyNotListening(error: unknown, port: number): string {
  const right = systemCode(error) === "EACCES" && port < 1024 ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : ""
  return `${systemReason(error)}${right}`
}
