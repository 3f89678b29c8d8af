/**
 * What the harness does inside Thunderbird: JavaScript with chrome rights, run by Marionette as the body of an async function with
 * `args`. Each drives what a button or menu would, so that the program's own code does the work.
 */

/** Stands before every other script. */
export const COMMON = `
  const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const main = Services.wm.getMostRecentWindow("mail:3pane");
  const tabmail = main.document.getElementById("tabmail");
  const account = MailServices.accounts.defaultAccount;
  const identity = account.defaultIdentity;
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const until = async (what, ask, deadlineMs = 20000) => {
    const end = Date.now() + deadlineMs;
    for (;;) {
      const value = await ask();
      if (value) return value;
      if (Date.now() > end) throw new Error("not within " + deadlineMs + " ms: " + (typeof what === "string" ? what : what()));
      await pause(20);
    }
  };
  const folder = (name) => until("folder " + name, async () => {
    const all = [account.incomingServer.rootFolder, ...account.incomingServer.rootFolder.descendants];
    return all.find((one) => one.name.toLowerCase() === name.toLowerCase());
  });
`

/** Settings > Privacy & Security > Manage Certificates > Import; the saved password. Arguments: the device, its folder, the server's CA. */
export const SET_UP = `
  const [device, deviceFolder, serverRoot] = args;
  const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
  const trust = async (file, flags) =>
    certificates.addCertFromBase64((await IOUtils.readUTF8(file)).replace(/-----[^-]+-----|\\s/g, ""), flags);
  await trust(serverRoot, "C,,");
  await trust(deviceFolder + "/" + device.files.root, ",C,");
  for (const name of [device.files.pkcs12, device.files.signing]) {
    if (!name) continue;
    const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
    file.initWithPath(deviceFolder + "/" + name);
    const error = certificates.importPKCS12File(file, device.pkcs12Password);
    if (error !== 0) throw new Error(name + ": importPKCS12File says " + error);
  }
  for (const protocol of ["imap", "smtp"]) {
    const origin = protocol + "://" + device[protocol].host;
    const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
    login.init(origin, null, origin, device.username, device.password, "", "");
    await Services.logins.addLoginAsync(login);
  }
`

/** Account Settings > End-To-End Encryption > S/MIME > Select: what that dialogue offers for each use. */
export const CHOOSE_CERTIFICATES = `
  const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
  const uses = [["encryption", Ci.nsIX509CertDB.verifyUsageEmailRecipient], ["signing", Ci.nsIX509CertDB.verifyUsageEmailSigner]];
  const valid = (certificate, usage) => new Promise((resolve) => certificates.asyncVerifyCertAtTime(certificate, usage,
    Ci.nsIX509CertDB.FLAG_LOCAL_ONLY, "", Date.now() / 1000, [], { verifyCertFinished: (error) => resolve(error === 0) }));
  for (const certificate of certificates.getCerts()) {
    if (!(certificate.certType & Ci.nsIX509Cert.USER_CERT)) continue;
    for (const [use, usage] of uses) {
      if (!(await valid(certificate, usage))) continue;
      identity.setUnicharAttribute(use + "_cert_name", certificate.displayName);
      identity.setCharAttribute(use + "_cert_dbkey", certificate.dbKey);
    }
  }
  return uses.map(([use]) => identity.getUnicharAttribute(use + "_cert_name"));
`

/** OpenPGP as Thunderbird has it. */
const OPENPGP = `
  const { BondOpenPGP } = ChromeUtils.importESModule("chrome://openpgp/content/BondOpenPGP.sys.mjs");
  await BondOpenPGP.init();
  const { RNP } = ChromeUtils.importESModule("chrome://openpgp/content/modules/RNP.sys.mjs");
`

/** Account Settings > End-To-End Encryption > OpenPGP > Add Key > Import. Argument: the armored key. */
export const IMPORT_OPENPGP = `
  ${OPENPGP}
  const { PgpSqliteDb2 } = ChromeUtils.importESModule("chrome://openpgp/content/modules/sqliteDb.sys.mjs");
  const imported = await RNP.importSecKeyBlockImpl(null, () => "", false, args[0], false);
  if (imported.exitCode !== 0) throw new Error("import: " + JSON.stringify(imported));
  const [key] = (await RNP.getKeys()).filter((one) => one.secretAvailable);
  await PgpSqliteDb2.acceptAsPersonalKey(key.fpr);
  identity.setUnicharAttribute("openpgp_key_id", key.keyId);
  return key.fpr;
`

/** Takes what others are known by: authorities for mail, e-mail certificates (both PEM), OpenPGP certificates that were verified (armored). */
export const KNOW = `
  const [{ authorities = [], certificates = [], openpgp = [] }] = args;
  const database = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
  const add = (pem, trust) => database.addCertFromBase64(pem.replace(/-----[^-]+-----|\\s/g, ""), trust);
  for (const pem of authorities) add(pem, ",C,");
  for (const pem of certificates) add(pem, ",,");
  ${OPENPGP}
  for (const armored of openpgp) {
    const imported = await RNP.importPubkeyBlockAutoAcceptImpl(null, armored, "verified");
    if (imported.exitCode !== 0) throw new Error("import: " + JSON.stringify(imported));
  }
  // What it looked for before and did not find.
  ChromeUtils.importESModule("chrome://openpgp/content/modules/keyRing.sys.mjs").EnigmailKeyRing.clearCache();
`

/** Imports keys of somebody else beside the device's: a PKCS#12 file with its password, an armored OpenPGP key. */
export const HOLD = `
  const [{ pkcs12, password, openpgp }] = args;
  const file = Cc["@mozilla.org/file/local;1"].createInstance(Ci.nsIFile);
  file.initWithPath(pkcs12);
  const error = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).importPKCS12File(file, password);
  if (error !== 0) throw new Error("importPKCS12File says " + error);
  ${OPENPGP}
  const imported = await RNP.importSecKeyBlockImpl(null, () => "", false, openpgp, false);
  if (imported.exitCode !== 0) throw new Error("import: " + JSON.stringify(imported));
`

/** Opens a message and waits for a text in it. Arguments: folder, Message-ID without brackets, text, whether it is signed. */
export const SHOW = `
  const [name, messageId, text, signed] = args;
  account.incomingServer.performExpand(main.msgWindow);
  const where = await folder(name);
  let next = 0;
  const header = await until(messageId + " in " + name, () => {
    if (Date.now() > next) { where.updateFolder(main.msgWindow); next = Date.now() + 1000; }
    return where.msgDatabase?.getMsgHdrForMessageID(messageId);
  });
  const panes = tabmail.currentAbout3Pane;
  panes.displayFolder(where.URI);
  await until("the list of " + name, () => panes.gDBView?.viewFolder?.URI === where.URI && panes.gDBView.findIndexOfMsgHdr(header, false) !== 0xffffffff);
  panes.threadTree.selectedIndex = panes.gDBView.findIndexOfMsgHdr(header, false);
  const seen = () => {
    const about = tabmail.currentAboutMessage;
    if (about?.gMessage?.messageId !== messageId) return null;
    const icon = (id) => { const image = about.document.getElementById(id); return image.hidden ? "" : image.src.split("/").pop(); };
    return {
      encryption: icon("encryptedHdrIcon"), signature: icon("signedHdrIcon"),
      technology: about.document.getElementById("cryptoBox").getAttribute("tech") ?? "",
      subject: about.document.getElementById("expandedsubjectBox").textContent.replace(/^Subject:/, "").trim(),
      text: about.getMessagePaneBrowser()?.contentDocument?.body?.textContent ?? "",
    };
  };
  // A signature is checked after its message is shown.
  const settled = (value) => value && value.text.includes(text) && value.encryption !== "" && (value.signature !== "") === signed;
  return await until(() => "the text; shown is " + JSON.stringify(seen())?.slice(0, 600), () => { const now = seen(); return settled(now) ? now : null; });
`

/** Starts writing: a new message, or with a Message-ID a reply to the shown one. Arguments: null or fields {to, subject, body}. */
export const WRITE = `
  const [fields] = args;
  const opened = new Promise((resolve) => {
    const watch = (window, topic) => {
      if (topic !== "domwindowopened") return;
      window.addEventListener("load", () => {
        if (window.document.documentElement.getAttribute("windowtype") !== "msgcompose") return;
        Services.ww.unregisterNotification(watch);
        window.addEventListener("compose-editor-ready", () => resolve(window), { once: true });
      }, { once: true });
    };
    Services.ww.registerNotification(watch);
  });
  if (fields) {
    const parameters = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
    parameters.composeFields = Object.assign(Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields), fields);
    parameters.identity = identity;
    parameters.type = Ci.nsIMsgCompType.New;
    MailServices.compose.OpenComposeWindowWithParams(null, parameters);
  } else tabmail.currentAbout3Pane.goDoCommand("cmd_reply");
  const composer = await opened;
  await until("the window is ready", () => composer.gLoadingComplete && !composer.gCheckEncryptionStateCompletionIsPending);
`

/** What the window for writing says of encryption. Stands after something that declares \`composer\`. */
export const STATE = `
  const notices = [...composer.document.querySelectorAll("notification-message")];
  const labels = () => notices.flatMap((notice) => [...notice.buttonContainer.querySelectorAll("button")].map((button) => button.label));
  // They come from the catalog of the language, behind the button.
  await until("the buttons have words", () => labels().every((label) => label));
  return {
    encrypt: composer.gSendEncrypted, sign: composer.gSendSigned, technology: composer.gSelectedTechnologyIsPGP ? "OpenPGP" : "S/MIME",
    notices: notices.map((notice) => notice.messageText.textContent),
    buttons: labels(),
  };
`

/** The window for writing that is open. */
export const COMPOSER = `const composer = Services.wm.getMostRecentWindow("msgcompose");`

/** Presses a button of the yellow bar. Argument: its label. */
export const PRESS = `
  const wanted = await until(args[0], () => [...composer.document.querySelectorAll("notification-message")]
    .flatMap((notice) => [...notice.buttonContainer.querySelectorAll("button")]).find((button) => button.label === args[0]));
  wanted.click();
  await until("the window is ready", () => !composer.gCheckEncryptionStateCompletionIsPending);
`

/** Send; waits for the window to close, which is when the copy is in the Sent folder. @returns the Message-ID without brackets */
export const SEND = `
  let messageId = "";
  const ignore = () => {};
  composer.gMsgCompose.addMsgSendListener({
    QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener"]),
    onStartSending: ignore, onSendProgress: ignore, onProgress: ignore, onStatus: ignore, onGetDraftFolderURI: ignore,
    onSendNotPerformed: ignore, onTransportSecurityError: ignore,
    onStopSending(id) { messageId = id; },
  });
  globalThis.posternDialogs.splice(0);
  composer.goDoCommand("cmd_sendNow");
  await until("sent", () => composer.closed || globalThis.posternDialogs.length > 0);
  if (!composer.closed) throw new Error(globalThis.posternDialogs.splice(0).join(", "));
  return messageId.replace(/^<|>$/g, "");
`

/** Switches encryption on or off as the button does. Argument: whether it shall be on. */
export const ENCRYPT = `
  if (composer.gSendEncrypted !== args[0]) composer.toggleEncryptMessage();
  await until("the window is ready", () => !composer.gCheckEncryptionStateCompletionIsPending);
  await pause(300);
`

/** Notes what every dialogue says, and closes it with Cancel. */
export const WATCH_DIALOGS = `
  globalThis.posternDialogs = [];
  Services.obs.addObserver((window) => {
    globalThis.posternDialogs.push((window.document.title + ": " + window.document.getElementById("infoBody")?.textContent).trim());
    window.setTimeout(() => window.document.querySelector("dialog").cancelDialog(), 0);
  }, "common-dialog-loaded");
`

/** Asks for new mail until a dialogue appears. @returns what it says */
export const UNTIL_DIALOG = `
  const inbox = await folder("Inbox");
  let next = 0;
  await until("a dialogue", () => {
    if (Date.now() > next) { inbox.getNewMessages(main.msgWindow, null); next = Date.now() + 1000; }
    return globalThis.posternDialogs.length > 0;
  });
  return globalThis.posternDialogs.splice(0);
`

/**
 * Address Book > New > LDAP directory, with its saved password; Composition > Addressing > Directory Server; and an authority for e-mail. Arguments: URL,
 * user, password, file of the authority.
 */
export const USE_DIRECTORY = `
  const [url, user, password, authority] = args;
  const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
  certificates.addCertFromBase64((await IOUtils.readUTF8(authority)).replace(/-----[^-]+-----|\\s/g, ""), ",C,");
  const id = MailServices.ab.newAddressBook("Gateway", url, Ci.nsIAbManager.LDAP_DIRECTORY_TYPE);
  Services.prefs.setStringPref(id + ".auth.dn", user);
  Services.prefs.setBoolPref("ldap_2.autoComplete.useDirectory", true);
  Services.prefs.setStringPref("ldap_2.autoComplete.directoryServer", id);
  const { scheme, hostPort, spec } = Services.io.newURI(url);
  const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
  login.init(scheme + "://" + hostPort, null, spec, "", password, "", "");
  await Services.logins.addLoginAsync(login);
`

/** Whether a message is in a folder as far as Thunderbird knows. Arguments: folder, Message-ID. */
export const HAS = `return Boolean((await folder(args[0])).msgDatabase?.getMsgHdrForMessageID(args[1]));`

/**
 * What the account wizard does with autoconfiguration: fetches the document, reads it, and logs in to see whether it is right. The
 * account is not kept. Arguments: URL, address, password. @returns the servers, preferred first, as [type, host, port, socket type, user name]
 */
export const AUTOCONFIGURE = `
  const [url, emailaddress, password] = args;
  const module = (name) => ChromeUtils.importESModule("resource:///modules/accountcreation/" + name + ".sys.mjs");
  const { AccountConfig } = module("AccountConfig");
  const config = module("readFromXML").readFromXML(await module("FetchHTTP").fetchHTTP(url, { urlArgs: { emailaddress } }), "isp-https");
  config.identity.emailAddress = emailaddress;
  AccountConfig.replaceVariables(config, "A Name", emailaddress, password);
  config.incoming.password = password;
  await new (module("ConfigVerifier").ConfigVerifier)(main.msgWindow, new AbortController().signal).verifyConfig(config);
  const told = ({ type, hostname, port, socketType, username }) => [type, hostname, port, socketType, username];
  return [config.incoming, ...config.incomingAlternatives, config.outgoing, ...config.outgoingAlternatives].map(told);
`
