import { InvalidArgumentError } from "commander"

/** The first of an instance's seven ports: MX, submission, submissions, IMAP, IMAPS, HTTPS, administration. */
export function readBasePort(text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535 - 6)
    throw new InvalidArgumentError("must be a number from 1 to 65529")
  return port
}
