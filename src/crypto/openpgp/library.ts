/** OpenPGP.js. Takes 80 ms to load: whoever needs nothing of it does not wait for it. */
export function library(): Promise<typeof import("openpgp")> {
  return import("openpgp")
}
