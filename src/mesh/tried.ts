/** PURE */
import { GatewayError } from "../errors.ts"
import { isNameOf, type Profile } from "./profile.ts"

/** What others have written may be anything; what it is instead of what it should be is one answer. Faults of ours are thrown on. */
export function tried<T>(act: () => T): T | GatewayError {
  try {
    return act()
  } catch (error) {
    if (error instanceof GatewayError) return error
    throw error
  }
}

/** Whether a profile is called so; what is no name calls nobody. */
export function isNamed(profile: Pick<Profile, "binaryUdf">, presented: string): boolean {
  return tried(() => isNameOf(profile, presented)) === true
}
