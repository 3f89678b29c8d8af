import { existsSync, readFileSync, unlinkSync } from "node:fs"
import { join } from "node:path"
import { pemDecode, pemEncode } from "../crypto/cms/pem.ts"
import { p256Pkcs8, p256ScalarOfPkcs8, randomP256Scalar } from "../crypto/primitives/p256.ts"
import { GatewayError } from "../errors.ts"
import { makePrivateFolder, systemCode, writeDurably } from "./durable.ts"

/** The last certificate of the CA, and its key: one file, so that the two are never apart. */
export interface IssuedCertificate {
  /** URL of the CA's directory. */
  readonly directory: string
  readonly names: readonly string[]
  /** PEM, the server's certificate first. */
  readonly certificate: string
  /** PEM. */
  readonly key: string
}

/** What came of the last attempt to get a certificate. Dates are RFC 3339. */
export interface AcmeStatus {
  readonly directory: string
  readonly names: readonly string[]
  /** When it ended. */
  readonly at: string
  readonly outcome: "issued" | "failed"
  /** In a row, up to this one. */
  readonly failures: number
  /** null: it did not fail. */
  readonly reason: string | null
  /** The CA's problem type (RFC 8555 §6.7); null where the CA said none. */
  readonly problem: string | null
  /** The CA wants no request before; null: it did not say. */
  readonly retryAt: string | null
  /** When the CA is asked next without being told to. */
  readonly nextAt: string
  /** The request of an administrator that was answered last, see {@link requestRenewal}; null: none was made. */
  readonly request: string | null
}

/** The folders of an instance, absolute. */
export interface AcmeFolders {
  readonly data: string
  readonly secrets: string
}

/**
 * The scalar of the account's key, `secrets/acme/account.pem` (mode 0600), made at first use.
 * @throws GatewayError STATE_CORRUPT when the file holds something else than a P-256 key
 */
export function acmeAccountKey({ secrets }: AcmeFolders): Uint8Array {
  const path = join(secrets, "acme", "account.pem")
  const text = readIfThere(path)
  if (text === null) {
    const scalar = randomP256Scalar()
    write(path, join(secrets, "acme"), pemEncode("PRIVATE KEY", p256Pkcs8(scalar)))
    return scalar
  }
  try {
    return p256ScalarOfPkcs8(pemDecode("PRIVATE KEY", text)[0] ?? new Uint8Array())
  } catch (cause) {
    throw new GatewayError("STATE_CORRUPT", `${path}: is no P-256 key (PKCS #8, PEM)`, { cause })
  }
}

/** @returns null for none, and for a file that is damaged: then the CA is asked for another */
export function issuedCertificate({ secrets }: AcmeFolders): IssuedCertificate | null {
  const { directory, names, certificate, key } = readObject(join(secrets, "acme", "issued.json"))
  const isWhole = typeof directory === "string" && typeof certificate === "string" && typeof key === "string"
  return isWhole && isTexts(names) ? { directory, names, certificate, key } : null
}

export function keepIssuedCertificate({ secrets }: AcmeFolders, issued: IssuedCertificate): void {
  write(join(secrets, "acme", "issued.json"), join(secrets, "acme"), JSON.stringify(issued))
}

/** @returns null before the first attempt, and for a file that is damaged: nothing but the back-off hangs on it */
export function acmeStatus({ data }: Pick<AcmeFolders, "data">): AcmeStatus | null {
  const found = readObject(join(data, "acme", "status.json"))
  const { directory, names, at, outcome, failures, nextAt } = found
  if (typeof directory !== "string" || !isTexts(names) || !isDate(at) || !isDate(nextAt)) return null
  if ((outcome !== "issued" && outcome !== "failed") || typeof failures !== "number") return null
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null)
  const retryAt = isDate(found["retryAt"]) ? found["retryAt"] : null
  const [reason, problem, request] = [text(found["reason"]), text(found["problem"]), text(found["request"])]
  return { directory, names, at, outcome, failures, reason, problem, retryAt, nextAt, request }
}

export function keepAcmeStatus({ data }: AcmeFolders, status: AcmeStatus): void {
  write(join(data, "acme", "status.json"), join(data, "acme"), JSON.stringify(status))
}

/** Asks the server that serves HTTP to renew now; its status carries `id` when it has. */
export function requestRenewal(folders: Pick<AcmeFolders, "data">, id: string): void {
  write(requestFile(folders), join(folders.data, "acme"), id)
}

/** True while no server has taken the request up. */
export function isRenewalRequested(folders: Pick<AcmeFolders, "data">): boolean {
  return existsSync(requestFile(folders))
}

/** Takes the request of an administrator, or takes it back. @returns null when there is none */
export function takeRenewalRequest(folders: Pick<AcmeFolders, "data">): string | null {
  const id = readIfThere(requestFile(folders))
  if (id !== null) unlinkSync(requestFile(folders))
  return id
}

function requestFile({ data }: Pick<AcmeFolders, "data">): string {
  return join(data, "acme", "request")
}

function write(path: string, folder: string, text: string): void {
  makePrivateFolder(folder)
  writeDurably(path, new TextEncoder().encode(text))
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8")
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null
    throw error
  }
}

/** Members of the JSON object in a file; none where there is no such thing. */
function readObject(path: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(readIfThere(path) ?? "null")
    return typeof value === "object" && value !== null ? { ...value } : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string")
}

function isDate(value: unknown): value is string {
  return typeof value === "string" && !Number.isNaN(Date.parse(value))
}
