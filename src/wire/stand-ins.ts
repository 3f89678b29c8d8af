import { join } from "node:path"
import { StandIns } from "../identity/stand-ins.ts"
import { StandInAuthorities } from "../store/stand-in-authorities.ts"
import type { Core } from "./core.ts"

/** Stand-ins of this instance: for the directory that gives them out, and for whoever decides about or opens what is encrypted to one. */
export function standInsOf({ config, people, now }: Pick<Core, "config" | "people" | "now">): StandIns {
  const authorities = new StandInAuthorities(join(config.secrets, "stand-ins"))
  return new StandIns(authorities, (address) => people.account(address), now)
}
