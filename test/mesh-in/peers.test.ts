import { expect, test } from "vitest"
import { PeerProfiles } from "../../src/mesh-in/peers.ts"
import { carol, home, peer, stranger } from "../mesh/protocol-world.ts"

test("a profile is verified once, for as long as it is among the last that came", () => {
  const peers = new PeerProfiles(2)
  const first = peers.verify(peer.profile.envelope)
  expect(first.udf).toBe(peer.profile.udf)
  peers.verify(home.profile.envelope)
  expect(peers.verify(peer.profile.envelope)).toBe(first)
  peers.verify(stranger.profile.envelope)
  expect(peers.verify(peer.profile.envelope)).toBe(first)
  const again = peers.verify(home.profile.envelope)
  peers.verify(stranger.profile.envelope)
  expect(peers.verify(home.profile.envelope)).toBe(again)
  expect(peers.verify(peer.profile.envelope)).not.toBe(first)
})

test("what is no service's profile is refused each time", () => {
  const peers = new PeerProfiles()
  for (let count = 0; count < 2; count++)
    expect(() => peers.verify(carol.profile.envelope)).toThrow(expect.objectContaining({ code: "MESH_OBJECT_INVALID" }))
})
