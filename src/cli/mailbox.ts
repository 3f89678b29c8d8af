import { type Command, Option } from "commander"
import type { EncryptOptions } from "./mailbox-encrypt.ts"
import type { ExportOptions } from "./mailbox-export.ts"
import { optionsOf, type Shell } from "./shell.ts"

/** `postern mailbox`. */
export function registerMailbox(program: Command, shell: Shell): void {
  const mailbox = program
    .command("mailbox")
    .description("The mail that is stored for an account, here or on the IMAP server behind the proxy.")
  mailbox
    .command("export <address>")
    .description("Write all stored mail in clear, opened with the account's keys from the keyring.")
    .requiredOption("--out <path>", "a file (mbox) or folder (maildir, eml) that is not there yet")
    .addOption(new Option("--format <format>", "how it is written").choices(["mbox", "maildir", "eml"]).default("mbox"))
    .option("--folder <name>", "this mailbox only, as INBOX or Sent; repeatable (default: all)", collect)
    .option("--skip <name>", "not this mailbox; repeatable", collect)
    .option("--keyring <folder>", "where people's secrets are (default: keyring of the instance)")
    .option("--passphrase-file <file>", "file with the keyring's passphrase (also POSTERN_PASSPHRASE_FILE)")
    .option("--json", "one JSON value on stdout")
    .addHelpText(
      "after",
      "\nMessages that cannot be opened are written as they are stored and reported on stderr; then the exit code is 1." +
        "\nAn mbox holds all mailboxes: the field X-Folder says which one a message was in. With eml, flags.json in each folder" +
        "\nhas the flags and dates. Nothing is called PATH before all of it is written.",
    )
    .action(async (address: string, _options: unknown, command: Command) => {
      const { exportMailbox } = await import("./mailbox-export.ts")
      if (!(await exportMailbox(address, optionsOf<ExportOptions>(command), shell.starters))) shell.exitWith(1)
    })
  mailbox
    .command("encrypt <address>")
    .description("Encrypt messages that are stored in clear, as those taken over from another server, to the account.")
    .option("--folder <name>", "this mailbox only, as INBOX or Sent; repeatable (default: all)", collect)
    .option("--skip <name>", "not this mailbox; repeatable", collect)
    .option("--dry-run", "only tell what would be encrypted")
    .option("--json", "one JSON value on stdout")
    .addHelpText(
      "after",
      "\nFlags, date and mailbox stay; each message gets a new UID, so that mail clients fetch it again." +
        "\nMessages that are skipped are reported on stderr with the reason; then the exit code is 1. It can be run again at any time," +
        "\nalso after a kill, and beside mail clients and another run. An IMAP server needs room for a copy of the largest message, or 2 MB." +
        "\nOn the disk the old octets may survive in free blocks, and in caches and backups of the server they came from.",
    )
    .action(async (address: string, _options: unknown, command: Command) => {
      const { encryptMailbox } = await import("./mailbox-encrypt.ts")
      if (!(await encryptMailbox(address, optionsOf<EncryptOptions>(command), shell.starters))) shell.exitWith(1)
    })
}

function collect(name: string, before: readonly string[] = []): readonly string[] {
  return [...before, name]
}
