/** Wires between the bridges of two hosts that share nothing but a channel. */
import { expect, test } from 'vitest'
import { connectTabs } from '../../../src/browser/index.ts'
import { networkPeer } from '../../../src/testing/index.ts'
import { hostsOfTests } from '../../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 16, clock: 'realtime' })

test('two tabs on one wire hear each other, whoever else is on the channel, until it is taken off', async () => {
  const [one, other] = [await boot(), await boot()]
  const wires = [one, other].map((host) => connectTabs(host.bridge(), 'lab'))
  using near = networkPeer(one, { ip: '10.0.0.1' })
  using far = networkPeer(other, { ip: '10.0.0.2' })
  expect(await near.ping(far.ip)).toBeGreaterThan(0)

  const stranger = new BroadcastChannel('paravirt lab')
  for (const nonsense of [null, 'frame', 7, new Uint8Array(13), new Uint8Array(70_000), { length: 60 }]) stranger.postMessage(nonsense)
  await expect.poll(() => wires[0]!.refused).toBe(6)
  stranger.close()

  wires[0]!.close()
  await wires[0]!.closed
  wires[1]!.close()
  wires[1]!.close()
  await wires[1]!.closed
})
