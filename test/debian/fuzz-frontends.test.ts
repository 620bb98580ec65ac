/**
 * Debian's own front-ends against a back-end that lies, from a moment of the booted kernel: the fuzzer finds by itself what makes xen-netfront give its device up, shrinks it, and
 * finds the same again with the same seed. Nothing that it tries makes Linux complain of itself.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fuzz, netfrontTarget, runInput, xenbusTarget, type FrontendTarget, type FuzzOptions } from '../../src/debug/index.ts'
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
    shell = await linux({ guests: debianGuests(GUESTS_FOLDER), memory: 128, modules: ['xen-netfront'] }).start()
    await shell.domain.attachNic('')
    await shell.run('while ! ifconfig eth0 10.0.0.1 up; do sleep 0.1; done; sleep 1')
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

  test('xenbus takes whatever a back-end writes into XenStore', async () => {
    const target = xenbusTarget(`/local/domain/0/backend/vif/${shell.domain.id}/0`)
    const { findings, corpus } = await fuzz(options(target, { executions: 30 }))
    expect(findings).toEqual([])
    expect(corpus.length).toBeGreaterThan(1)
  })
})
