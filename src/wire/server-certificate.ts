import { accessSync, constants, existsSync, readFileSync } from "node:fs"
import { dirname } from "node:path"
import type { Config, TlsFiles } from "../config/config.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { makeServerTls } from "../identity/server.ts"
import { issuedCertificate } from "../store/acme.ts"
import { makePrivateFolder, writeDurably } from "../store/durable.ts"
import type { TlsIdentity } from "./tls.ts"

/**
 * Writes certificate and key to the files that listeners read, each whole or not at all, the key first. Between the two they do not fit
 * one another: listeners that look then keep what they have and look again, and after a crash {@link restoreServerCertificate} ends it.
 */
export function installIdentity({ certificate, key }: TlsIdentity, files: TlsFiles): void {
  write(files.key, key)
  write(files.certificate, certificate)
}

/**
 * Before the CA is asked: what it issues must find its place, and CAs count what they issue.
 * @throws Error EACCES, EROFS, ENOENT for a folder that nothing can be written to
 */
export function checkInstallable({ certificate, key }: TlsFiles): void {
  for (const path of [certificate, key]) accessSync(dirname(path), constants.W_OK)
}

/**
 * Before listeners read the files, where certificates come from a CA: puts the last one of the CA there where something else is (half of
 * a renewal, a lost file), or one of our own making where nothing is, to start with.
 */
export function restoreServerCertificate(config: Config, now: Date): void {
  const { tls, hostname } = config
  if (tls.acme === null) return
  const issued = issuedCertificate(config)
  if (issued !== null) {
    if (!holds(tls.key, issued.key) || !holds(tls.certificate, issued.certificate)) installIdentity(issued, tls)
  } else if (!existsSync(tls.certificate) && !existsSync(tls.key)) {
    installIdentity(makeServerTls([hostname], { now, random: randomOctets }), tls)
  }
}

function holds(path: string, text: string): boolean {
  return existsSync(path) && readFileSync(path, "utf8") === text
}

function write(path: string, text: string): void {
  makePrivateFolder(dirname(path))
  writeDurably(path, new TextEncoder().encode(text))
}
