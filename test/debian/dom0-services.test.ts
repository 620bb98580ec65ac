/**
 * Debian's Linux as dom0 that this library serves: its kernel believes itself to be the initial domain, its tools reach our XenStore, and
 * its back-ends serve guests that the host makes, as other guests' devices are served by the kernel of this library.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, NetFrontend } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import type { Host } from '../../src/toolstack/index.ts'
import type { XenError } from '../../src/util/index.ts'
import { kernelLog } from '../support/dmesg.ts'
import { Dom0Shell } from '../support/dom0.ts'
import { callName } from '../support/hypercall-census.ts'
import { whyMissing } from '../support/guests.ts'

const missing = whyMissing('linux', 'busybox', 'dom0Tools')
const BOOT = 600_000

/** Names of the domains that the host lists. */
const names = (host: Host): unknown[] => host.listDomains().map(({ id, name }) => [id, name])

describe.skipIf(missing !== undefined)(`Linux as dom0 of a host whose services are ours${missing ?? ''}`, { timeout: BOOT }, () => {
  let shell: Dom0Shell
  let host: Host
  beforeAll(async () => {
    shell = await Dom0Shell.boot({ services: 'host' })
    host = shell.host
    // What the kernel says of devices that come and go is in its log, and not behind a prompt.
    await shell.run('dmesg -n 1')
  }, BOOT)
  afterAll(() => host?.shutdown())

  test('is the initial domain to its own kernel, and a domain behind the one that serves to the host', async () => {
    expect(await shell.run('cat /proc/xen/capabilities; cat /sys/hypervisor/uuid')).toBe(`control_d\n${host.domain('dom0').uuid}\n`)
    expect(names(host)).toEqual([[0, 'Domain-0'], [1, 'dom0']])
    expect(await shell.run('ls /run/xenstored/socket 2>&1; true')).toContain('No such file')
  })

  test('its tools read, write and watch the XenStore of the host, as those of a privileged domain', async () => {
    host.store.write('/tool/from-host', 'hello')
    expect(await shell.run('xenstore-read /tool/from-host')).toBe('hello\n')
    await shell.run('xenstore-write /local/domain/0/from-linux there')
    expect(host.store.read('/local/domain/0/from-linux')).toBe('there')
    await shell.run('(xenstore-watch -n 2 /tool/watched >/tmp/watched &) ; sleep 1')
    host.store.write('/tool/watched', 'now')
    expect(await shell.run('sleep 1; cat /tmp/watched')).toBe('/tool/watched\n/tool/watched\n')
    expect(await shell.run('xenstore-ls /local/domain/0')).toContain('name = "Domain-0"\n')
  })

  test('xl in it knows the domains of the host by their names, and the host those that xl makes and renames', async () => {
    const web = await host.createDomain({ name: 'web', memory: 16 })
    await web.console.waitFor('mini> ')
    expect(await shell.run('xl list')).toMatch(/Domain-0 +0 [^]*dom0 +1 [^]*web +2 +16 /)
    await shell.run('xl pause web')
    expect(host.listDomains().find(({ name }) => name === 'web')).toMatchObject({ state: expect.stringContaining('p') as string })
    await shell.run('xl unpause web')
    const seen: string[] = []
    for (const type of ['domain-created', 'domain-destroyed'] as const) host.hypervisorEvents.on(type, ({ domid }) => seen.push(`${type} ${domid}`))
    await shell.run('xl create a.cfg')
    expect(names(host)).toContainEqual([3, 'a'])
    await shell.run('xl rename a b')
    expect(names(host)).toContainEqual([3, 'b'])
    await shell.run('xl destroy b')
    expect(seen).toEqual(['domain-created 3', 'domain-destroyed 3'])
    await web.destroy()
    expect(names(host)).toEqual([[0, 'Domain-0'], [1, 'dom0']])
  })

  test('a domain that both toolstacks destroy at once is gone once, and who is late is told so', async () => {
    const both = await host.createDomain({ name: 'both', memory: 16 })
    const gone: number[] = []
    host.hypervisorEvents.on('domain-destroyed', ({ domid }) => gone.push(domid))
    let hasBegun = false
    const stop = host.hypervisorEvents.on('hypercall', ({ number, sub }) => { hasBegun ||= callName(number, sub) === 'domctl/destroydomain' })
    const typed = shell.ask('xl destroy both')
    await host.until('xl to begin', () => hasBegun, { timeout: '20s' })
    stop()
    const [ours, theirs] = await Promise.all([both.destroy().then(() => 'done', ({ code }: XenError) => code), typed])
    expect([ours, gone]).toEqual([expect.stringMatching(/^(?:done|DOMAIN_NOT_FOUND)$/), [both.id]])
    expect(theirs.status === 0 || theirs.output.includes('libxl: error')).toBe(true)
    await host.settled()
    expect([names(host), host.hypervisor.checkInvariants()]).toEqual([[[0, 'Domain-0'], [1, 'dom0']], []])
    expect((await shell.run('xl list')).split('\n')).toHaveLength(4)
  })

  test('a domain that the host destroys while xl makes it is an error of xl\'s, and nothing of it is left', async () => {
    await shell.run('xl create a.cfg >/dev/null && xl destroy a')
    const free = (): number => host.hypervisor.hostInfo().freeFrames
    const before = free()
    const found: number[] = []
    const stop = host.hypervisorEvents.on('domain-created', ({ domid }) => found.push(domid))
    const typed = shell.ask('xl create a.cfg')
    await host.until('xl to have made it', () => found.length > 0, { timeout: '20s' })
    stop()
    host.hypervisor.destroyDomain(found[0] as never)
    const { status, output } = await typed
    expect([status === 0, output]).toEqual([false, expect.stringContaining('libxl: error')])
    await host.settled()
    expect([names(host), free(), host.hypervisor.checkInvariants()]).toEqual([[[0, 'Domain-0'], [1, 'dom0']], before, []])
  })

  test('its blkback and netback serve a guest of the host, beside a disk that this library serves', async () => {
    await shell.run('truncate -s 4M /tmp/disk; losetup /dev/loop0 /tmp/disk')
    const [disks, nics] = [new BlockFrontend(), new NetFrontend()]
    const program: GuestProgram = async (kernel) => {
      const bus = new FrontendBus(kernel)
      await bus.register(disks)
      await bus.register(nics)
      kernel.console!.log('up')
    }
    const guest = await host.createDomain({
      name: 'guest', memory: 16, kernel: program, disks: [{ vdev: 'xvda', target: 'loop0', backend: 'dom0' }], nics: ['bridge=xenbr0,backend=dom0'],
    })
    await guest.console.waitFor('up')
    const store = new MemoryBlockStore(1 << 20)
    await guest.attachDisk({ vdev: 'xvdb', target: 'own' }, { store })
    const sector = new Uint8Array(512).fill(0x5a)
    for (const name of ['xvda', 'xvdb']) {
      const disk = await disks.disk(name)
      await disk.write(3, sector)
      await disk.flush()
      expect(await disk.read(3, 1)).toEqual(sector)
    }
    expect(await shell.run('dd if=/tmp/disk bs=512 skip=3 count=1 2>/dev/null | head -c 4')).toContain('ZZZZ')
    expect(store.bytes.subarray(3 * 512, 3 * 512 + 512)).toEqual(sector)
    expect([guest.disk('xvda').backend, guest.disk('xvdb').backend]).toEqual([1, 0])
    await nics.nic(0)
    expect(await shell.run(`ls /sys/class/net/xenbr0/brif`)).toContain(`vif${guest.id}.0`)
    await guest.destroy()
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('its kernel complains of nothing', async () => {
    expect((await shell.ask(kernelLog('WARNING|Oops|BUG:|Call Trace|blocked for more than|hung'))).output).toBe('')
  })

  test('its power-off ends the host', async () => {
    const reasons: string[] = []
    host.events.on('dom0-shutdown', ({ reason }) => reasons.push(reason))
    await host.console.write('poweroff\r')
    await expect(host.until('its end', () => false, { timeout: '60s' })).rejects.toMatchObject({ code: 'CLOSED' })
    expect(reasons).toEqual(['poweroff'])
  })
})
