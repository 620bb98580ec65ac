/**
 * Debian's own front-ends against a back-end that lies, from a moment of the booted kernel: the fuzzer finds by itself what makes xen-netfront and xen-blkfront give their device up, shrinks it, and
 * finds the same again with the same seed. Nothing that it tries makes Linux complain of itself.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blkfrontTarget, fuzz, inspectDomain, netfrontTarget, runInput, xenbusTarget, type FrontendTarget, type FuzzOptions } from '../../src/debug/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import type { Host, Moment } from '../../src/index.ts'
import { debianGuests } from '../../src/node/index.ts'
import { linux, type LinuxShell } from '../../src/testing/index.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const PATIENCE = 300_000
const lacking = whyMissing(...LINUX_FILES, 'linuxModules')

describe.skipIf(lacking !== undefined)(`Debian's front-ends against a lying back-end${lacking ?? ''}`, { timeout: PATIENCE }, () => {
  let shell: LinuxShell
  let moment: Moment<Host>
  beforeAll(async () => {
    shell = await linux({ guests: debianGuests(GUESTS_FOLDER), memory: 128, modules: ['xen-netfront', 'xen-blkfront'] }).start()
    await shell.domain.attachDisk('phy:any,xvda,w', { store: new MemoryBlockStore(new Uint8Array(2 << 20)) })
    await shell.domain.attachNic('')
    await shell.run('while ! test -b /dev/xvda; do sleep 0.1; done; while ! ifconfig eth0 10.0.0.1 up; do sleep 0.1; done; sleep 1')
    await shell.host.settled()
    moment = await shell.host.checkpoint()
  }, PATIENCE)
  afterAll(() => shell?.host.shutdown())

  const options = (target: FrontendTarget, changes: Partial<FuzzOptions> = {}): FuzzOptions => ({ moment, target: 'linux', seed: 3, shrinking: 30, ...target, ...changes })
  /** What Linux says where it no longer believes the other end. */
  const invariant: FuzzOptions['invariant'] = ({ domain }) => (/Illegal number of responses/.test(domain.console.text()) ? 'the device was given up' : undefined)

  test('xen-netfront takes whatever stands in its ring, and gives up what cannot be', async () => {
    const { findings, corpus, edges } = await fuzz(options(netfrontTarget(), { invariant, stopAt: 1, executions: 200 }))
    expect(findings).toMatchObject([{ kind: 'invariant', signature: 'the device was given up' }])
    // More responses than the ring has places.
    const { input } = findings[0]!
    expect([input.length, input[0]! + 256 * input[1]! > 256]).toEqual([2, true])
    expect(corpus.length).toBeGreaterThan(1)
    expect(edges).toBeGreaterThan(1000)
    expect((await runInput(options(netfrontTarget(), { invariant }), input)).findings).toMatchObject([{ kind: 'invariant' }])
    expect((await runInput(options(netfrontTarget(), { invariant }), Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 60, 0))).findings).toEqual([])
    expect(await shell.run('echo as it was')).toBe('as it was')
  })

  test('xen-blkfront takes whatever stands in its ring while requests wait, and gives up what cannot be', async () => {
    const host = await moment.branch()
    const domain = host.domain('linux')
    // A disk of one request a second: others wait.
    domain.setDiskLimits('xvda', { requestsPerSecond: 1 })
    await domain.console.write('for i in 1 2 3 4; do dd if=/dev/xvda of=/dev/null bs=4096 count=4 skip=$((i * 16)) iflag=direct 2>/dev/null & done\n')
    await host.until('requests to wait', () => inspectDomain(host, domain).rings().some((ring) => ring.kind === 'requests' && ring.device === 'vbd/51712' && ring.outstanding > 2))
    const busy = await host.checkpoint()
    const refused = /illegal number of responses|response has (incorrect id|wrong operation)/
    const lie = options(blkfrontTarget(), { moment: busy, invariant: ({ domain: guest }) => refused.exec(guest.console.text())?.[0] })
    const { findings, corpus, edges } = await fuzz({ ...lie, executions: 40, stopAt: 1 })
    expect(findings).toMatchObject([{ kind: 'invariant', signature: expect.stringMatching(refused) }])
    expect(corpus.length).toBeGreaterThan(1)
    expect(edges).toBeGreaterThan(500)
    const said = async (...bytes: readonly number[]): Promise<readonly string[]> => (await runInput(lie, Uint8Array.from(bytes))).findings.map(({ signature }) => signature)
    const one = [1, 0] as const
    expect(await said(1, 1)).toEqual(['illegal number of responses'])
    expect(await said(...one, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).toEqual(['response has incorrect id'])
    expect(await said(...one, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0)).toEqual(['response has wrong operation'])
    // An error and a success are nothing that it has to mind.
    expect([await said(...one, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff), await said(...one, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]).toEqual([[], []])
    await host.shutdown()
  })

  test('xenbus takes whatever a back-end writes into XenStore', async () => {
    const target = xenbusTarget(`/local/domain/0/backend/vif/${shell.domain.id}/0`)
    const { findings, corpus } = await fuzz(options(target, { executions: 30 }))
    expect(findings).toEqual([])
    expect(corpus.length).toBeGreaterThan(1)
  })
})
