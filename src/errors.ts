import { getSystemErrorMessage } from "node:util"

/**
 * Stable codes of everything that can go wrong in Postern. Tests, scripts and dashboards match the code, never the text.
 * Grouped by layer; each code is thrown in one layer only.
 */
export type ErrorCode =
  // message
  | "ADDRESS_SYNTAX"
  // mime
  | "HEADER_TOO_LARGE"
  | "MIME_TOO_DEEP"
  | "MIME_TOO_MANY_PARTS"
  | "CLEAR_CONTENT"
  // crypto
  | "DER_SYNTAX"
  | "CERTIFICATE_INVALID"
  | "CERTIFICATE_UNKNOWN"
  | "CERTIFICATE_UNSUPPORTED"
  | "CMS_MALFORMED"
  | "POINT_INVALID"
  | "OPENPGP_MALFORMED"
  | "OPENPGP_UNSUPPORTED"
  | "SCALAR_INVALID"
  | "DECRYPTION_FAILED"
  | "LENGTH_MISMATCH"
  | "DKIM_KEY_UNUSABLE"
  | "MESH_KEY_UNSUPPORTED"
  | "SHARES_INVALID"
  | "UDF_MALFORMED"
  | "JSONB_SYNTAX"
  | "JSONB_TOO_LARGE"
  | "JSONB_TYPE"
  | "DARE_ALTERED"
  | "DARE_MALFORMED"
  | "DARE_TOO_LARGE"
  | "DARE_UNSUPPORTED"
  | "SEQUENCE_CORRUPT"
  // mesh
  | "MESH_EXPIRED"
  | "MESH_GONE"
  | "MESH_LATER"
  | "MESH_MAIL_ALTERED"
  | "MESH_MISSING"
  | "MESH_OBJECT_INVALID"
  | "MESH_UNPUBLISHED"
  | "MESH_UNTRUSTED"
  // store
  | "CONFIG_INVALID"
  | "STATE_CORRUPT"
  | "STATE_VERSION"
  | "STATE_AWAY"
  | "QUEUE_AWAY"
  | "STATE_REFUSED"
  | "SPOOL_FULL"
  | "SPOOL_CORRUPT"
  | "SPOOL_KEY_MISSING"
  | "RETURN_PATHS_KEYLESS"
  | "ACCOUNT_UNKNOWN"
  | "ACCOUNT_EXISTS"
  | "DEVICE_UNKNOWN"
  | "DEVICE_EXISTS"
  | "ALIAS_EXISTS"
  | "ALIAS_UNKNOWN"
  | "CONTACT_EXISTS"
  | "CONTACT_FORBIDDEN"
  | "CONTACT_TEXT"
  | "CONTACT_UNKNOWN"
  | "CREDENTIAL_UNKNOWN"
  | "DKIM_KEYS_CORRUPT"
  | "DKIM_KEY_UNKNOWN"
  | "DKIM_KEY_EXISTS"
  | "DKIM_KEY_STATE"
  | "DKIM_NOT_PUBLISHED"
  | "GATEWAY_KEYS_CORRUPT"
  | "GATEWAY_KEY_STATE"
  | "GATEWAY_KEY_UNKNOWN"
  | "GATEWAY_KEY_UNUSABLE"
  | "STAND_INS_CORRUPT"
  | "STAND_IN_STATE"
  | "STAND_IN_UNKNOWN"
  | "STAND_IN_UNUSABLE"
  | "KEYRING_LOCKED"
  | "KEYRING_MISSING"
  | "MESH_HOST_MISSING"
  | "REQUEST_INVALID"
  | "NOT_CONFIRMED"
  | "JOB_UNKNOWN"
  | "JOB_STATE"
  // net
  | "WEB_NO_NAME"
  | "WEB_NO_ADDRESS"
  | "WEB_UNRESOLVED"
  | "WEB_FORBIDDEN_URL"
  | "WEB_FORBIDDEN_ADDRESS"
  | "WEB_REFUSED"
  | "WEB_TIMEOUT"
  | "WEB_CERTIFICATE"
  | "WEB_TOO_LONG"
  | "WEB_REDIRECT"
  | "WEB_BROKEN"
  // profiles
  | "KEYSERVER_MALFORMED"
  | "KEYSERVER_REFUSED"
  | "KEY_SOURCE_SILENT"
  // flow and edges
  | "MESSAGE_TOO_LARGE"
  | "UPLOADS_FULL"
  | "DEVICE_REVOKED"
  | "MESSAGE_ALTERED"
  | "LINE_ENDINGS"
  | "MAIL_LOOP"
  | "AUTHOR_REFUSED"
  | "AUTHOR_AMBIGUOUS"
  | "AUTHENTICATION_FAILED"
  | "AUTHENTICATION_UNDECIDED"
  | "VIRUS_FOUND"
  | "CONTENT_REFUSED"
  | "CONTENT_DEFERRED"
  | "SCAN_TOO_LARGE"
  | "SCANNER_AWAY"
  | "SECOND_ENVELOPE_INVALID"
  | "ENCRYPTION_REQUIRED"
  | "NOT_ENCRYPTABLE"
  | "NOT_SIGNABLE"
  | "UPSTREAM_UNAVAILABLE"
  | "UPSTREAM_REFUSED"
  | "UPSTREAM_LIMIT"
  | "UPSTREAM_CONSENT"
  | "PROTOCOL"
  | "LISTEN_FAILED"
  | "ACME_REFUSED"
  | "ACME_UNREACHABLE"
  | "ACME_PROTOCOL"
  | "MAILBOX_NAME"
  | "MAILBOX_UNKNOWN"
  | "MAILBOX_EXISTS"
  | "MAILBOX_BUSY"
  | "MAILBOX_FULL"
  | "EXPORT_EXISTS"
  | "USAGE"

/** An error of ours: a stable code, what and where in lower case, the cause, and never a secret. */
export class GatewayError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = "GatewayError"
    this.code = code
  }
}

/** True when `error` is ours and carries `code`. */
export function hasCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof GatewayError && error.code === code
}

/** Why the system refused, in its words: `no such file or directory`. */
export function systemReason(error: unknown): string {
  if (error instanceof Error && "errno" in error && typeof error.errno === "number")
    return getSystemErrorMessage(error.errno) ?? error.message
  return error instanceof Error ? error.message : String(error)
}
