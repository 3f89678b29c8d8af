import { readSecretText } from "../config/load.ts"
import { GatewayError } from "../errors.ts"

/** The option and variable that name a file with the keyring's passphrase. */
export interface PassphraseOptions {
  readonly passphraseFile?: string
}

/** A passphrase from `--passphrase-file` or POSTERN_PASSPHRASE_FILE; null: neither is given. */
export function givenPassphrase(options: PassphraseOptions): string | null {
  const path = options.passphraseFile ?? process.env["POSTERN_PASSPHRASE_FILE"]
  if (path === undefined || path === "") return null
  const passphrase = readSecretText({ kind: "file", path })
  if (passphrase === "") throw new GatewayError("KEYRING_LOCKED", `${path}: the passphrase is empty`)
  return passphrase
}

/** Asks on the terminal, without echo. @returns null when stdin is no terminal, or the answer is empty */
export async function askPassphrase(question: string): Promise<string | null> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return null
  process.stderr.write(`${question}: `)
  const answer = await readSilently()
  process.stderr.write("\n")
  return answer === "" ? null : answer
}

/** Asks twice for a new passphrase. @returns null for none */
export async function askNewPassphrase(): Promise<string | null> {
  const first = await askPassphrase("Passphrase for the keyring (empty: unsealed)")
  if (first === null) return null
  if ((await askPassphrase("Once more")) === first) return first
  throw new GatewayError("KEYRING_LOCKED", "passphrase: the two are not alike")
}

function readSilently(): Promise<string> {
  const { stdin } = process
  stdin.setRawMode(true)
  stdin.resume()
  stdin.setEncoding("utf8")
  return new Promise((resolve, reject) => {
    let typed = ""
    const finish = (act: () => void): void => {
      stdin.off("data", take)
      stdin.setRawMode(false)
      stdin.pause()
      act()
    }
    const take = (text: string): void => {
      for (const character of text) {
        if (character === "\r" || character === "\n") {
          finish(() => resolve(typed))
          return
        }
        if (character === "\u0003") {
          finish(() => reject(new GatewayError("KEYRING_LOCKED", "passphrase: interrupted")))
          return
        }
        typed = character === "\u007f" ? typed.slice(0, -1) : typed + character
      }
    }
    stdin.on("data", take)
  })
}
