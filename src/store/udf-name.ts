import { parseUdf } from "../crypto/udf/udf.ts"
import { hasCode } from "../errors.ts"

/**
 * What a UDF is found by: the first of its characters, as many as everybody presents, without dashes.
 * @returns null for fewer, and for no UDF
 */
export function udfName(presented: string): string | null {
  try {
    const characters = parseUdf(presented).text.replaceAll("-", "")
    return characters.length < NAME_CHARACTERS ? null : characters.slice(0, NAME_CHARACTERS)
  } catch (error) {
    if (hasCode(error, "UDF_MALFORMED")) return null
    throw error
  }
}

/** 130 bits: more than the 128 that a name is compared to, and fewer than the 140 that are presented. */
const NAME_CHARACTERS = 26
