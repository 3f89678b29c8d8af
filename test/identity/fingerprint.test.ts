import { expect, test } from "vitest"
import { contentFingerprint, localPartHash } from "../../src/identity/fingerprint.ts"

test("local parts hash as in the Web Key Directory draft", () => {
  // draft-koch-openpgp-webkey-service, §3.1: Joe.Doe@Example.ORG
  expect(localPartHash("Joe.Doe")).toBe("iy9q119eutrkn8s1mk4r39qejnbu3n5q")
  expect(localPartHash("joe.doe")).toBe("iy9q119eutrkn8s1mk4r39qejnbu3n5q")
})

test("content digests are those of the Mesh", () => {
  // draft-hallambaker-mesh-udf, the worked example for SHA-2-512.
  const octets = new TextEncoder().encode("UDF Data Value")
  expect(contentFingerprint("text/plain", octets)).toBe("MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF")
})
