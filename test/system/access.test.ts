/** Who may do what: the policies of a host where Xen asks its security modules, and handles with less power. */
import { describe, expect, test, vi } from 'vitest'
import { ERRNO, GNTST, HYPERVISOR } from '../../src/abi/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { narrow, type Domain, type Host, type Policy, type XenError } from '../../src/index.ts'
import { HYPERCALL_CLASSES } from '../../src/hypervisor/index.ts'
import type { DomId, EventPort, GrantRef } from '../../src/util/index.ts'
import { booksOf, changesOf } from '../support/host-books.ts'
import { hostsOfTests, startMini } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 8, openDisk: () => new MemoryBlockStore(1 << 20) })

describe('a policy', () => {
  test('dummy lets guests share with each other; silo refuses grants and events among them, and nothing with dom0', async () => {
    for (const policy of ['dummy', 'silo'] as const) {
      const host = await boot({ policy })
      const one = await host.createDomain({ name: 'one', memory: 4, kernel: () => undefined })
      const two = await host.createDomain({ name: 'two', memory: 4, kernel: () => undefined })
      const control = host.hypervisor
      const [giver, taker] = [control.port(one.id), control.port(two.id)]
      const isSilo = policy === 'silo'
      const [frame] = control.domainFrames(one.id)
      control.seedGrant(one.id, 20 as GrantRef, { remote: two.id, frame: frame! })
      control.seedGrant(one.id, 21 as GrantRef, { remote: 0 as DomId, frame: frame! })
      const mapped = taker.mapGrant({ domid: one.id, ref: 20 as GrantRef })
      expect([policy, mapped.status]).toEqual([policy, isSilo ? GNTST.permission_denied : GNTST.okay])
      const copies = taker.copyGrants([{ source: { domid: one.id, ref: 20 as GrantRef, offset: 0 }, destination: { frame: control.domainFrames(two.id)[0]!, offset: 0 }, length: 16 }])
      expect([policy, ...copies]).toEqual([policy, isSilo ? GNTST.permission_denied : GNTST.okay])
      expect(control.port(0 as DomId).mapGrant({ domid: one.id, ref: 21 as GrantRef }).status).toBe(GNTST.okay)
      const port = giver.allocUnbound(one.id, two.id)
      expect([policy, port > 0]).toEqual([policy, !isSilo])
      if (isSilo) expect(port).toBe(-ERRNO.EPERM)
      else expect(taker.bindInterdomain(one.id, port as EventPort)).toBeGreaterThan(0)
      expect(giver.allocUnbound(one.id, 0 as DomId)).toBeGreaterThan(0)
      expect(control.hostInfo().access).toEqual({ policy, enforcing: isSilo, denials: isSilo ? 3 : 0 })
    }
  })

  test('silo lets guests have their devices', async () => {
    const host = await boot({ policy: 'silo' })
    const domain = await startMini(host, { disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] } as object)
    expect(domain.devices().map(({ kind }) => kind)).toEqual(['vbd', 'vif'])
    expect(host.hypervisor.hostInfo().access.denials).toBe(0)
  })

  test('of one\'s own is asked for each class of hypercalls, of binary guests and of those in TypeScript', async () => {
    const asked = new Set<string>()
    const policy: Policy = {
      name: 'quiet', hypercall: ({ privileged }, about) => {
        if (!privileged) asked.add(about)
        return privileged || about !== 'version'
      },
    }
    const host = await boot({ policy })
    const denied: unknown[] = []
    host.events.on('access-denied', ({ domid, asked: what }) => denied.push([domid, what]))
    const domain = await host.createDomain({ name: 'it', memory: 8, actions: { crash: 'preserve' } })
    await host.until('the kernel to ask', () => denied.length > 0)
    expect(denied[0]).toEqual([domain.id, 'version'])
    expect(asked.size).toBeGreaterThan(2)
    const typed = await host.createDomain({ name: 'typed', memory: 4, kernel: (kernel) => kernel.console!.log('up') })
    await host.settled()
    expect(typed.exists).toBe(true)
    expect(asked).toContain('events')
  })

  test('of one\'s own is asked for control operations, and a refused one changes nothing', async () => {
    const policy: Policy = { name: 'no tuning', control: (operation, target) => operation !== 'setSchedulerParameters' || target?.domid !== 1 }
    const host = await boot({ policy })
    const one = await startMini(host)
    expect(() => one.setScheduling({ weight: 300 })).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED', details: { operation: 'setSchedulerParameters', domid: 1, policy: 'no tuning' } }))
    expect(one.scheduling().parameters['weight']).toBe(256)
    const two = await startMini(host, { name: 'two' })
    two.setScheduling({ weight: 300 })
    expect(host.hypervisor.hostInfo().access).toEqual({ policy: 'no tuning', enforcing: true, denials: 1 })
  })

  test('of one\'s own may refuse any call on the way of an operation: it fails with that, and the books are as before', async () => {
    /** Calls by which is taken back what was done before, and what only looks. */
    const undoing = /^(destroyDomain|claimPages|closePort|hostInfo|domainInfo)$/
    const [denied, asked] = [{ name: '' }, new Set<string>()]
    const host = await boot({ policy: { name: 'fickle', control: (name) => {
      asked.add(name)
      return name !== denied.name
    } } })
    const one = await startMini(host, { disks: [{ target: 'a', vdev: 'xvda' }], cpus: '0' } as object)
    const create = (): Promise<Domain> => host.createDomain({ name: 'two', memory: 4, cpus: '0', cpuWeight: 300, timeOffset: 5, tscMode: 'native', nics: [''] })
    // What `dumpCore` takes back by itself is `unpauseDomain`.
    const isBack = (name: string, call: string): boolean => undoing.test(call) || name === 'dumpCore' && call === 'unpauseDomain'
    /** What is done, and what takes that back when it has been done. */
    const works: readonly (readonly [name: string, work: () => Promise<unknown>, back: () => Promise<unknown>])[] = [
      ['createDomain', create, () => host.domain('two').destroy()], ['setMaxMem', () => one.setMaxMem(16), () => one.setMaxMem(8)],
      ['dumpCore', () => one.dumpCore({ write: () => undefined }), async () => undefined],
      ['setVcpus', () => one.setVcpus(1), async () => undefined],
    ]
    let count = 0
    for (const [name, work, back] of works) {
      asked.clear()
      await work()
      await host.settled()
      const calls = [...asked].filter((each) => !isBack(name, each))
      await back()
      for (const call of calls) {
        await host.settled()
        const before = booksOf(host)
        denied.name = call
        const outcome = await work().then(() => 'done', (error: XenError) => `${error.code} ${String(error.details['operation'])}`)
        denied.name = ''
        await host.settled()
        expect([name, call, outcome]).toEqual([name, call, `PERMISSION_DENIED ${call}`])
        expect([name, call, changesOf(before, booksOf(host))]).toEqual([name, call, []])
        count += 1
      }
    }
    expect(count).toBeGreaterThan(15)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('of one\'s own that keeps a domain from being destroyed leaves it whole, until it lets it go, or its host goes', async () => {
    for (const call of ['pauseDomain', 'dismantleDomain']) {
      const rule = { isStrict: true }
      const host = await boot({ policy: { name: 'keeper', control: (name, target) => !rule.isStrict || name !== call || target?.domid !== 1 } })
      const one = await startMini(host, { disks: [{ target: 'a', vdev: 'xvda' }], actions: { poweroff: 'destroy' } } as object)
      const before = booksOf(host)
      await expect(one.destroy()).rejects.toMatchObject({ code: 'PERMISSION_DENIED', details: { operation: call, domid: 1, policy: 'keeper' } })
      expect([call, changesOf(before, booksOf(host))]).toEqual([call, []])
      await one.console.write('echo still here\n')
      await one.console.waitFor(/^still here$/)
      const failed = host.events.once('action-failed')
      await one.shutdown()
      expect(await failed).toMatchObject({ domid: 1, action: 'destroy', error: { code: 'PERMISSION_DENIED' } })
      rule.isStrict = call === 'pauseDomain'
      if (!rule.isStrict) await one.destroy()
      await host.shutdown()
      expect(one.exists).toBe(false)
    }
  })

  test('whose rules throw, or answer no boolean, refuses; the host and its guests go on', async () => {
    const told = vi.spyOn(console, 'error').mockImplementation(() => undefined)
    const kind: { now: 'right' | 'throws' | 'promises' } = { now: 'right' }
    const answer = (): boolean => {
      if (kind.now === 'throws') throw new Error('a fault in the policy')
      return (kind.now === 'promises' ? Promise.resolve(true) : true) as boolean
    }
    const host = await boot({ policy: { name: 'mad', hypercall: answer, share: answer, control: answer } })
    const domain = await startMini(host)
    const port = host.hypervisor.port(domain.id)
    for (const now of ['throws', 'promises'] as const) {
      const { denials } = host.hypervisor.hostInfo().access
      kind.now = now
      expect(() => domain.pause()).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }))
      expect(port.allocUnbound(domain.id, 0 as DomId)).toBe(-ERRNO.EPERM)
      kind.now = 'right'
      expect(host.hypervisor.hostInfo().access.denials).toBeGreaterThan(denials + 1)
      domain.pause()
      domain.unpause()
    }
    const errors = told.mock.calls.map(([error]) => String(error))
    expect(errors.length).toBeLessThanOrEqual(3)
    expect(new Set(errors)).toEqual(new Set(['Error: a fault in the policy']))
    told.mockRestore()
  })

  test('has a class for every hypercall', () => {
    expect(Object.keys(HYPERCALL_CLASSES).sort()).toEqual(Object.keys(HYPERVISOR).sort())
  })

  test('of a wrong kind is refused', async () => {
    await expect(boot({ policy: 'flask' as 'silo' })).rejects.toMatchObject({ code: 'INVALID_CONFIG', details: { key: 'policy' } })
  })
})

describe('a narrowed handle', () => {
  const refused = (act: () => unknown): void => expect(act).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }))
  const start = async (): Promise<{ host: Host; one: Domain; two: Domain }> => {
    const host = await boot()
    return { host, one: await startMini(host, { name: 'one' }), two: await startMini(host, { name: 'two' }) }
  }

  test('for looking has all that looks and nothing that changes', async () => {
    const { host, one } = await start()
    const seen = narrow(host, { readOnly: true })
    expect(seen.listDomains()).toEqual(host.listDomains())
    const domain = seen.domain('one')
    expect([domain.id, domain.name, domain.info().domid]).toEqual([1, 'one', 1])
    expect(domain.console.text()).toContain('mini')
    expect([seen.cpupools.list().map(({ name }) => name), seen.cpupools.find(0).parameters(), seen.dmesg()]).toEqual([['Pool-0'], { ratelimit: 1000 }, host.dmesg()])
    for (const act of [
      () => seen.cpupools.create(), () => seen.cpupools.find(0).rename('x'), () => seen.cpupools.list()[0]!.destroy(), () => seen.dmesg({ clear: true }), () => seen.debugKeys('h'),
      () => domain.pause(), () => domain.destroy(), () => domain.setMemTarget(4), () => domain.save({ write: () => undefined }), () => domain.console.write('x'),
      () => domain.trace({}), () => seen.createDomain({ name: 'x', memory: 4 }), () => seen.setMaxMem('one', 8), () => seen.hypervisor, () => seen.store, () => seen.dom0,
      () => seen.shutdown(), () => seen.checkpoint(), () => seen.bridge(), () => (domain as unknown as { host: unknown }).host, () => (seen as unknown as { parts: unknown }).parts,
      () => { (domain as unknown as { id: number }).id = 5 },
    ]) refused(act)
    expect(one.info().paused).toBe(false)
    expect(Object.keys(seen)).toEqual([])
  })

  test('of one domain knows no other, in calls, lists and events', async () => {
    const { host, two } = await start()
    const own = narrow(host, { domain: 'one' })
    expect(own.domains().map(({ name }) => name)).toEqual(['one'])
    expect(own.listDomains().map(({ id }) => id)).toEqual([1])
    refused(() => own.domain('two'))
    refused(() => own.setMaxMem('two', 16))
    refused(() => own.createDomain({ name: 'x', memory: 4 }))
    const told: string[] = []
    own.events.onAny(({ type }) => told.push(type))
    two.pause()
    own.domain('one').pause()
    own.domain('one').unpause()
    await own.setMaxMem('one', 16)
    expect(told).toEqual(['domain-paused', 'domain-unpaused', 'operation-started', 'operation-progress', 'memory-maximum', 'operation-completed'])
    expect(own.events.recent().every((event) => (event as { domid?: number }).domid === 1)).toBe(true)
  })

  test('of a domain, narrowed again, has no more than before', async () => {
    const { one } = await start()
    const again = narrow(narrow(one, { readOnly: true }), { readOnly: false })
    refused(() => again.pause())
    expect(() => narrow({} as Host, {})).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => narrow(one, { readonly: true } as object)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
