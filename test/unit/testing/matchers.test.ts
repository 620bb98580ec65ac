/** What tests say of domains and hosts, as matchers of vitest and as functions for any runner. */
import { describe, expect, test } from 'vitest'
import type { GuestProgram } from '../../../src/index.ts'
import { testHost } from '../../../src/testing/vitest/index.ts'
import {
  assertCrashed, assertNoLeaks, assertNodes, assertReceived, assertShown, assertShutDown, encodePacket, networkPeer, type Packet,
} from '../../../src/testing/index.ts'
import { runTest } from '../../support/readme-examples.ts'

const talker: GuestProgram = async (kernel) => {
  for (const line of ['one', 'two', 'three']) kernel.console!.log(line)
  await kernel.sleep('1s')
}
const thrower: GuestProgram = async (kernel) => {
  await kernel.sleep('1s')
  throw new Error('a bug of the guest')
}
const refused = (text: string | RegExp) => expect.objectContaining({ code: 'INVALID_STATE', message: expect.stringMatching(text) })

describe('how a guest ends', () => {
  test('is waited for, with the reason', async () => {
    await using host = await testHost()
    const domain = await host.createDomain({ name: 'mini', memory: 8 })
    await domain.console.waitFor('mini> ')
    await expect(domain).not.toShutDown('poweroff', { timeout: '1s' })
    await expect(assertShutDown(domain, 'poweroff', { timeout: '1s' })).rejects.toEqual(refused(/has not shut down for poweroff: it runs; its console's last words: ".*mini> .*"/))
    await domain.console.write('poweroff\r')
    await expect(domain).toShutDown()
    await expect(domain).toShutDown('poweroff')
    await expect(assertShutDown(domain, 'reboot')).rejects.toEqual(refused('has shut down for poweroff, not for reboot'))
    await expect(domain).not.toCrash()
  })

  test('as a crash has its cause', async () => {
    await using host = await testHost()
    const domain = await host.createDomain({ name: 'thrower', memory: 4, kernel: thrower })
    await expect(domain).toCrash({ text: 'a bug of the guest' })
    await assertCrashed(domain, { text: /bug/ })
    await expect(domain).not.toCrash({ exception: 'page fault' })
    await expect(assertCrashed(domain, { exception: 'page fault' })).rejects.toEqual(refused(/has crashed otherwise: exception is undefined, not "page fault"/))
  })
})

describe('what a host shows', () => {
  test('on consoles, line by line', async () => {
    await using host = await testHost()
    const domain = await host.createDomain({ name: 'talker', memory: 4, kernel: talker })
    await domain.console.waitFor('three')
    expect(domain).toHaveShown('two')
    expect(domain).toHaveShown(['one', /^t.*e$/])
    expect(domain).not.toHaveShown(['two', 'one'])
    expect(() => assertShown(domain, ['two', 'one'])).toThrow(refused(/has not shown "one" behind line 2; it has shown "one\\ntwo/))
  })

  test('in XenStore', async () => {
    await using host = await testHost()
    await host.createDomain({ name: 'talker', memory: 4, kernel: talker })
    expect(host).toHaveNodes({ '1/name': 'talker', '/local/domain/1/memory/target': /^\d+$/, '/tool/none': null, '1/domid': undefined })
    expect(host).not.toHaveNodes({ '1/name': 'other' })
    expect(() => assertNodes(host, { '1/name': 'other', '1/domid': '1' })).toThrow(refused(/- \/local\/domain\/1\/name = "other"\n\+ \/local\/domain\/1\/name = "talker"/))
  })

  test('as frames', async () => {
    await using host = await testHost()
    using one = networkPeer(host, { ip: '10.0.0.1', mac: '00:16:3e:00:00:01' })
    using two = networkPeer(host, { ip: '10.0.0.2', mac: '00:16:3e:00:00:02', answers: false })
    const packet: Packet = { kind: 'udp', destination: one.mac, source: two.mac, from: two.ip, to: one.ip, fromPort: 9, toPort: 7, data: new Uint8Array(3) }
    two.send(encodePacket(packet))
    await two.waitFor({ kind: 'udp' })
    expect(one).toHaveReceived({ kind: 'udp', toPort: 7 }, 1)
    expect(one).not.toHaveReceived({ kind: 'tcp' })
    expect(() => assertReceived(one, { kind: 'tcp' })).toThrow(refused(/came 0 times; there came\nudp 10\.0\.0\.2:9 > 10\.0\.0\.1:7, 3 bytes/))
  })

  test('as what it still holds', async () => {
    await using host = await testHost({ leaks: false })
    await expect(host).toHaveNoLeaks()
    await assertNoLeaks(host)
    host.store.write('/tool/left', '')
    await expect(host).not.toHaveNoLeaks()
    await expect(assertNoLeaks(host)).rejects.toEqual(refused('XenStore node /tool/left was left'))
  })
})

test('a failed test of vitest shows the report behind its error', { timeout: 60_000 }, async () => {
  const out = await runTest("import { expect, test } from 'vitest'\nimport { testHost } from 'paravirt/testing/vitest'\n"
    + "test('fails', async () => {\n  await using host = await testHost({ seed: 4711 })\n  expect(host.seed).toBe(1)\n})\n")
  expect(out).toContain('expected 4711 to be 1')
  expect(out).toContain('paravirt: seed 4711, at 0.')
})
