/** PURE. SASL responses that log a gateway in (RFC 4616, RFC 7628, and Google's XOAUTH2). */

/** Who logs in, and by what. */
export type Identity =
  | {
      readonly kind: "password"
      readonly user: string
      readonly password: string
      /** Whose mailbox it is about, where that is not the user's own (RFC 4616 §2); empty: the user's own. */
      readonly authorizeAs: string
    }
  /** An OAuth 2.0 access token (RFC 6750). */
  | { readonly kind: "bearer"; readonly user: string; readonly token: string }

/** One AUTHENTICATE exchange. */
export interface SaslExchange {
  readonly mechanism: "PLAIN" | "XOAUTH2" | "OAUTHBEARER"
  /** Base64. */
  readonly response: string
  /** What is said to a second challenge, base64: it tells of an error, and the tagged NO comes behind it. */
  readonly toErrorChallenge: string
}

/** What tokens are shown to. */
export interface ServerName {
  readonly host: string
  readonly port: number
}

/** The exchange for `identity` among the mechanisms that the server has; null: none fits. */
export function exchangeFor(
  identity: Identity,
  capabilities: readonly string[],
  server: ServerName | null,
): SaslExchange | null {
  if (identity.kind === "password") return capabilities.includes("AUTH=PLAIN") ? plain(identity) : null
  if (capabilities.includes("AUTH=XOAUTH2")) return xoauth2(identity)
  return capabilities.includes("AUTH=OAUTHBEARER") ? oauthBearer(identity, server) : null
}

/** True when a server's words hold the secret of `identity`, as those of servers that repeat what they did not understand. */
export function reveals(text: string, identity: Identity): boolean {
  const secrets =
    identity.kind === "password"
      ? [identity.password, plain(identity).response]
      : [identity.token, xoauth2(identity).response]
  return secrets.some((secret) => text.includes(secret)) || /[A-Za-z0-9+/=]{40}/.test(text)
}

// RFC 4616 §2: [authzid] UTF8NUL authcid UTF8NUL passwd; "*" cancels (RFC 9051 §6.2.2)
function plain({ user, password, authorizeAs }: Identity & { kind: "password" }): SaslExchange {
  return { mechanism: "PLAIN", response: base64(`${authorizeAs}\0${user}\0${password}`), toErrorChallenge: "*" }
}

function xoauth2({ user, token }: Identity & { kind: "bearer" }): SaslExchange {
  return {
    mechanism: "XOAUTH2",
    response: base64(`user=${user}\x01auth=Bearer ${token}\x01\x01`),
    toErrorChallenge: "",
  }
}

// RFC 7628 §3.1 and §3.2.3; in a GS2 header "=" and "," are escaped (RFC 5801 §4)
function oauthBearer({ user, token }: Identity & { kind: "bearer" }, server: ServerName | null): SaslExchange {
  const authzid = user.replaceAll("=", "=3D").replaceAll(",", "=2C")
  const where = server === null ? "" : `host=${server.host}\x01port=${server.port}\x01`
  return {
    mechanism: "OAUTHBEARER",
    response: base64(`n,a=${authzid},\x01${where}auth=Bearer ${token}\x01\x01`),
    toErrorChallenge: base64("\x01"),
  }
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64")
}
