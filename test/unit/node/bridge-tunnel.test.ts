import { createSocket } from 'node:dgram'
import { afterEach, expect, test } from 'vitest'
import { bridgeTunnel, type BridgeTunnel } from '../../../src/node/index.ts'
import { decodePacket, encodePacket, type Packet } from '../../../src/testing/index.ts'
import type { Host } from '../../../src/toolstack/index.ts'
import { hostsOfTests } from '../../support/mini.ts'
import { pingResponder } from '../../support/ping.ts'

const boot = hostsOfTests({ memory: 40, dom0Memory: 8 })
const tunnels: BridgeTunnel[] = []
afterEach(() => { for (const tunnel of tunnels.splice(0)) tunnel.close() })

/** Hosts whose bridges are joined, each end with all others. */
async function joined(count: number): Promise<readonly Host[]> {
  const hosts: Host[] = []
  for (let i = 0; i < count; i += 1) {
    const host = await boot({ seed: i })
    hosts.push(host)
    tunnels.push(await bridgeTunnel(host.bridge()))
  }
  for (const tunnel of tunnels) tunnel.join(...tunnels.filter((other) => other !== tunnel))
  return hosts
}

const MAC = '02:00:00:00:00:07'
const request: Packet = { kind: 'arp', operation: 'request', source: MAC, destination: 'ff:ff:ff:ff:ff:ff', senderMac: MAC, sender: '10.0.0.7', targetMac: '00:00:00:00:00:00', target: '10.0.0.2' }

test('guests of several hosts are on one network, and no frame comes twice', async () => {
  const [first, second] = await joined(3)
  await second!.createDomain({ name: 'two', memory: 8, kernel: pingResponder([10, 0, 0, 2]), nics: ['mac=00:16:3e:00:00:02'] })
  await second!.settled()
  const heard: Packet[] = []
  const port = first!.bridge().open({ onFrame: (frame) => void heard.push(decodePacket(frame)) })
  await expect.poll(() => {
    if (heard.length === 0) port.send(encodePacket(request))
    return heard.length
  }, { timeout: 10_000, interval: 100 }).toBeGreaterThan(0)
  expect(heard[0]).toMatchObject({ kind: 'arp', sender: '10.0.0.2' })
  const before = heard.length
  port.send(encodePacket(request))
  await expect.poll(() => heard.length, { timeout: 10_000 }).toBe(before + 1)
})

test('takes nothing from strangers, and a port that is taken is told', async () => {
  const [host] = await joined(1)
  const [tunnel] = tunnels
  const stranger = createSocket('udp4')
  stranger.send(encodePacket(request), tunnel!.port, tunnel!.host)
  await expect.poll(() => tunnel!.refused).toBe(1)
  stranger.close()
  await expect(bridgeTunnel(host!.bridge(), { port: tunnel!.port })).rejects.toMatchObject({ code: 'IO' })
  await expect(bridgeTunnel(host!.bridge(), { port: -1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
