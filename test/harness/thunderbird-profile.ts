import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { DeviceSettings } from "./instance.ts"

/** How a Thunderbird of a test is set up. */
export interface ProfileOptions {
  readonly fullName: string
  /** Whether it fetches whole messages ahead of time, as a fresh Thunderbird does; if not, when they are opened, large ones in pieces. */
  readonly keepsMessages: boolean
}

/** Makes a profile folder with a device's account in it, as the account wizard would. The caller removes it. @returns its path */
export function makeProfile(device: DeviceSettings, options: ProfileOptions, marionettePort: number): string {
  const profile = mkdtempSync(join(tmpdir(), "postern-thunderbird-"))
  const values = { ...QUIET, ...account(device, options), "marionette.port": marionettePort }
  const lines = Object.entries(values).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
  )
  writeFileSync(join(profile, "user.js"), lines.join(""))
  return profile
}

/** A first start asks, tells and looks up many things; a test wants none of them, and nothing from the network. */
const QUIET = {
  "app.update.enabled": false,
  "datareporting.policy.dataSubmissionPolicyBypassNotification": true,
  "mail.biff.show_alert": false,
  "mail.inappnotifications.enabled": false,
  "mail.provider.suppress_dialog_on_startup": true,
  "mail.rights.version": 1,
  "mail.shell.checkDefaultClient": false,
  "mail.spotlight.firstRunDone": true,
  "mailnews.start_page.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
} as const

function account(device: DeviceSettings, options: ProfileOptions): Readonly<Record<string, string | number | boolean>> {
  const mailbox = (name: string): string => `imap://${encodeURIComponent(device.username)}@${device.imap.host}/${name}`
  return {
    "mail.accountmanager.accounts": "account1",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.account.account1.identities": "id1",
    "mail.account.account1.server": "server1",
    "mail.server.server1.type": "imap",
    "mail.server.server1.hostname": device.imap.host,
    "mail.server.server1.port": device.imap.port,
    "mail.server.server1.socketType": 3,
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.userName": device.username,
    "mail.server.server1.name": device.address,
    // A login at start would ask for the password before the test could store it.
    "mail.server.server1.login_at_startup": false,
    "mail.server.server1.check_new_mail": false,
    "mail.server.server1.offline_download": options.keepsMessages,
    "mail.identity.id1.useremail": device.address,
    "mail.identity.id1.fullName": options.fullName,
    "mail.identity.id1.valid": true,
    "mail.identity.id1.compose_html": false,
    "mail.identity.id1.smtpServer": "smtp1",
    "mail.identity.id1.fcc_folder": mailbox("Sent"),
    "mail.identity.id1.draft_folder": mailbox("Drafts"),
    "mail.smtpservers": "smtp1",
    "mail.smtp.defaultserver": "smtp1",
    "mail.smtpserver.smtp1.hostname": device.smtp.host,
    "mail.smtpserver.smtp1.port": device.smtp.port,
    "mail.smtpserver.smtp1.try_ssl": 3,
    "mail.smtpserver.smtp1.authMethod": 3,
    "mail.smtpserver.smtp1.username": device.username,
  }
}
