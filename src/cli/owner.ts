import { lstatSync, readdirSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/config.ts"

type Folders = Pick<Config, "secrets" | "data">

/** Whose secrets they are when they are not root's: as this user the server runs, and so should commands. @returns the number of the user */
export function otherOwner({ secrets }: Folders): number | null {
  return process.geteuid?.() === 0 ? notRoot(secrets) : null
}

/** What root has made there, which the owner cannot read: by commands that were run as root beside a server that is not. */
export function madeByRoot({ secrets, data }: Folders): readonly string[] {
  if (notRoot(secrets) === null) return []
  // Below data/ there may be a million messages, and nothing that commands make.
  return [...below(secrets), ...children(data)].filter((path) => lstatSync(path, { throwIfNoEntry: false })?.uid === 0)
}

function notRoot(folder: string): number | null {
  return lstatSync(folder, { throwIfNoEntry: false })?.uid || null
}

function below(folder: string): readonly string[] {
  return children(folder).flatMap((path) => [path, ...(isOpenFolder(path) ? below(path) : [])])
}

function children(folder: string): readonly string[] {
  return readdirSync(folder).map((name) => join(folder, name))
}

/** Whoever is not root cannot look into a folder of root's, which is found as such. */
function isOpenFolder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false })
  return found?.isDirectory() === true && (found.uid !== 0 || process.geteuid?.() === 0)
}
