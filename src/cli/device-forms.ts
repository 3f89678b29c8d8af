import { existsSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { type Command, Option } from "commander"
import { findConfig, loadConfig } from "../config/load.ts"
import { type Certificate, readCertificate } from "../crypto/cms/certificate.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { GatewayError } from "../errors.ts"
import type { FileForms } from "../identity/device-files.ts"
import type { Person } from "../identity/person.ts"
import { type CommonOptions, warn } from "./shell.ts"

/** Options of commands that write a device's files. */
export interface FormOptions {
  readonly p12: "modern" | "compatible"
  readonly loginCertificate: boolean
  readonly mobileconfig: boolean
  readonly serverCa?: string
}

/** Adds the options of commands that write a device's files. */
export function withFormOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--p12 <form>", "modern: AES-256; compatible: 3DES and SHA-1, for systems that refuse the other")
        .choices(["modern", "compatible"])
        .default("modern"),
    )
    .option("--login-certificate", "write NAME-login.p12 too: the certificate to log in with by TLS", false)
    .option("--mobileconfig", "write NAME.mobileconfig too: everything for an iPhone, iPad or Mac in one file", false)
    .option(
      "--server-ca <file>",
      "the authority of the server's certificate, for NAME.mobileconfig (default: the instance's)",
    )
}

/**
 * The forms that the options ask for.
 * @throws GatewayError CERTIFICATE_INVALID when `--server-ca` names no certificate, USAGE when nothing is to hold it
 */
export function formsOf(person: Person, options: FormOptions & CommonOptions): FileForms {
  const pkcs12 = options.p12 === "compatible" ? "legacy" : "modern"
  const login = options.loginCertificate
  if (options.serverCa !== undefined && !options.mobileconfig)
    throw new GatewayError("USAGE", "--server-ca: is for --mobileconfig")
  if (!options.mobileconfig) return { pkcs12, login, mobileconfig: null }
  if (person.formats[0] !== "smime")
    warn(`mail of ${person.address} arrives encrypted with OpenPGP, and Apple's mail programs open S/MIME only`)
  const serverAuthority = options.serverCa === undefined ? ownAuthority(options) : readFile(resolve(options.serverCa))
  return { pkcs12, login, mobileconfig: { serverAuthority: serverAuthority?.der ?? null } }
}

/** The authority that `postern init` made, where it is the one that issued the server's certificate; a public one needs no trust of ours. */
function ownAuthority(options: CommonOptions): Certificate | null {
  const file = findConfig(options.config ?? null, process.cwd())
  if (file === null) return null
  const { tls } = loadConfig(file, process.cwd())
  const beside = join(tls.certificate, "..", "ca.pem")
  if (!existsSync(beside) || !existsSync(tls.certificate)) return null
  const [authority, server] = [readFile(beside), readFile(tls.certificate)]
  return Buffer.compare(authority.subject, server.identity.issuer) === 0 ? authority : null
}

function readFile(path: string): Certificate {
  const [der] = pemDecode("CERTIFICATE", readFileSync(path, "utf8"))
  if (der === undefined) throw new GatewayError("CERTIFICATE_INVALID", `${path}: has no certificate in PEM`)
  return readCertificate(der)
}
