/** What a new postern.toml says. */
export interface InstanceToml {
  readonly domains: readonly string[]
  /** First of seven ports on loopback; null: standard ports. */
  readonly port: number | null
  /** How "all addresses" is written on this machine. */
  readonly everywhere: string
}

/** The text of a new instance's postern.toml; every key in it is explained. */
export function instanceToml(wanted: InstanceToml): string {
  const address = (offset: number, standard: number, host = wanted.everywhere): string =>
    wanted.port === null ? `"${host}:${standard}"` : `"127.0.0.1:${wanted.port + offset}"`
  return `# Made by "postern init". All keys, their units and defaults: config/postern.example.toml of the package.
# Paths are relative to this file.

# Domains whose mail this server takes; the first one is its own name.
domains = [${wanted.domains.map((domain) => `"${domain}"`).join(", ")}]

# State, sealed spool and mail: may be backed up anywhere, a copy of it opens nothing.
data = "data"

# Keys of the running server: keep it out of every backup that holds data/.
secrets = "secrets"

# Secrets of people made on this machine. The server never opens it; it may be moved away.
keyring = "keyring"

# "host:port"; what is absent is not served.
[listen]
# mail from other servers
mx = ${address(0, 25)}
# mail from our people's devices: STARTTLS before AUTH; TLS from the start
submission = ${address(1, 587)}
submissions = ${address(2, 465)}
# reading: STARTTLS before login; TLS from the start
imap = ${address(3, 143)}
imaps = ${address(4, 993)}
# mail profiles for everybody
https = ${address(5, 443)}
# metrics, health and status as plain HTTP: keep it on loopback
admin = ${address(6, 9465, "127.0.0.1")}

# PEM; ca.pem beside them is the private authority that signed the certificate. For one that everybody trusts, got and renewed by
# itself (ACME), see [tls.acme] and listen.http in docs/OPERATIONS.md.
[tls]
certificate = "tls/server.pem"
key = "tls/server.key"

# Where local mail goes and where IMAP comes from; "embedded:" is Maildir++ under data/mail.
[mailboxes]
deliver = "embedded:"
imap = "embedded:"

# Mail for other domains: "mx", or "smtps://host:465", or "smtp://host:25".
[relay]
next = "mx"

# Keys of other people, to encrypt what leaves: certificates that you pin, signed mail profiles, OpenPGP Web Key Directories.
# What becomes of mail without a key, and all other words: docs/POLICY.md.
[keys]
sources = ${wanted.port === null ? '["pinned", "profile", "wkd"]' : '["pinned"] # "profile" and "wkd" ask the internet'}

[policy]
# Subject outside the encryption: "clear" or "hidden".
subject = "clear"

[limits]
# of a message as sent
messageSize = "50MB"
# in one transaction
recipients = 100
`
}
