/**
 * A 32-bit PV kernel of our own beside a 64-bit one: console, XenStore, timer, events and grants between the two. It is
 * examples/guests/mini, built for 32-bit guests by gcc where there is one.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { CompatVcpuGuestContext } from '../../src/abi/index.ts'
import type { Domain } from '../../src/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { transportPair, writeCoreDump } from '../../src/toolstack/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { withGuestSection } from '../support/elf-image.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { whyMissing } from '../support/guests.ts'
import { answers, hostsOfTests, startMini } from '../support/mini.ts'
import { verifyStream } from '../support/verify-stream.ts'

const built = buildMini('pv32')
const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })

describe.skipIf(built.path === undefined)(`a 32-bit kernel${built.reason === undefined ? '' : ` (SKIPPED: ${built.reason})`}`, () => {
  const kernel = (): Uint8Array => readFileSync(built.path!)

  test('starts from the older __xen_guest section in place of notes', async () => {
    const host = await boot()
    const says = 'GUEST_OS=mini,XEN_VER=xen-3.0,VIRT_BASE=0xc0000000,ELF_PADDR_OFFSET=0x0,VIRT_ENTRY=0xc0000000,PAE=yes[extended-cr3],LOADER=generic'
    const domain = await host.createDomain({ name: 'old', memory: 8, kernel: withGuestSection(kernel(), `${says}\0`) })
    await domain.console.waitFor('tick 3')
    await domain.destroy()
    const withoutPae = host.createDomain({ name: 'older', memory: 8, kernel: withGuestSection(kernel(), says.replace('PAE=yes[extended-cr3]', 'PAE=no')) })
    await expect(withoutPae).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
    expect(host.listDomains()).toHaveLength(1)
  })

  test('starts, reads and writes XenStore, gets its timer and powers off', { timeout: 30_000 }, async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
      await domain.console.waitFor('magic xen-3.0-x86_32p')
      await domain.console.waitFor('2048 pages')
      await domain.console.waitFor('domain 1, name: pae')
      await domain.console.waitFor('tick 3')
      await domain.console.write('write data hello\r')
      await domain.console.waitFor('written')
      expect(host.store.read(`/local/domain/${domain.id}/data`)).toBe('hello')
      await domain.console.write('mem\r')
      await domain.console.waitFor(' 0 frames disagree')
      await domain.console.write('poweroff\r')
      expect(await domain.waitForShutdown()).toBe('poweroff')
      await host.settled()
    })
  })

  test('shares grants and events with a 64-bit kernel, whichever offers', { timeout: 30_000 }, async () => {
    const host = await boot()
    const [mini, pae] = [await startMini(host), await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })]
    await pae.console.waitFor('tick 3')
    await pae.console.write(`offer ${mini.id} from thirty-two\r`)
    const [, peer] = await pae.console.waitFor(/offer: (peer \d+ \d+ \d+)/) as unknown as RegExpExecArray
    await mini.console.write(`${peer}\r`)
    await mini.console.waitFor('wrote: from thirty-two')
    await mini.console.waitFor('peer: answered, status 0')
    await pae.console.waitFor('offer: answer: mini has read 15 characters')
    await mini.console.write(`offer ${pae.id} from sixty-four\r`)
    const [, other] = await mini.console.waitFor(/offer: (peer \d+ \d+ \d+)/) as unknown as RegExpExecArray
    await pae.console.write(`${other}\r`)
    await pae.console.waitFor('wrote: from sixty-four')
    await pae.console.waitFor('peer: answered, status 0')
    await mini.console.waitFor('offer: answer: mini has read 15 characters')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('is saved and restored, in the stream of a 32-bit domain', { timeout: 60_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
    await domain.console.waitFor('tick 3')
    const file = new ByteCollector()
    await domain.save(file)
    if (whyMissing('verifyStream', 'xenPython') === undefined) expect(verifyStream(file.bytes())).toMatchObject({ status: 0 })
    const again = await host.restore(file.bytes(), { kernel: kernel() })
    await again.console.waitFor('mini: restored')
    await answers(again)
    expect(host.hypervisor.domainInfo(again.id as never)).toMatchObject({ kind: 'pv32', addressSize: 32 })
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('leaves a core whose records of registers begin as its own do', { timeout: 60_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
    await domain.console.waitFor('2048 pages')
    await domain.pause()
    const core = new ByteCollector()
    await writeCoreDump(host.hypervisor, domain.id as never, core)
    const { rip, rsp } = host.hypervisor.getVcpuContext(domain.id as never, 0).user
    const bytes = core.bytes()
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    // .xen_prstatus is the section behind the notes.
    const section = Number(view.getBigUint64(40, true)) + 2 * 64
    const at = Number(view.getBigUint64(section + 24, true)) + CompatVcpuGuestContext.userRegs.offset
    const { eip, esp, cs } = CompatVcpuGuestContext.userRegs.layout
    expect([eip.get(view, at), esp.get(view, at), cs.get(view, at) & 0xfffc]).toEqual([rip, rsp, 0xe018])
  })

  test('moves to another host while it runs, and back', { timeout: 60_000 }, async () => {
    const [first, second] = [await boot(), await boot()]
    let domain = await first.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
    await domain.console.waitFor('tick 3')
    for (const target of [second, first]) {
      const { ends } = transportPair()
      const [there] = await Promise.all([target.receiveMigration(ends[1]), domain.migrate(ends[0], { live: true })])
      await there.console.waitFor('mini: restored')
      domain = there
    }
    await answers(domain)
    expect(first.hypervisor.checkInvariants()).toEqual([])
  })

  test('moves beside a 64-bit kernel at the same time, and shares grants and events with it there', { timeout: 60_000 }, async () => {
    const [first, second] = [await boot(), await boot()]
    const guests = [await first.createDomain({ name: 'mini', memory: 8 }), await first.createDomain({ name: 'pae', memory: 8, kernel: kernel() })]
    for (const guest of guests) await guest.console.waitFor('tick 3')
    const [mini, pae] = await Promise.all(guests.map(async (guest) => {
      const { ends } = transportPair()
      const [there] = await Promise.all([second.receiveMigration(ends[1]), guest.migrate(ends[0], { live: true })])
      await there.console.waitFor('mini: restored')
      return there
    })) as [Domain, Domain]
    expect([mini, pae].map(({ id }) => second.hypervisor.domainInfo(id as never).kind)).toEqual(['pv', 'pv32'])
    await pae.console.write(`offer ${mini.id} from thirty-two\r`)
    const [, peer] = await pae.console.waitFor(/offer: (peer \d+ \d+ \d+)/) as unknown as RegExpExecArray
    await mini.console.write(`${peer}\r`)
    await mini.console.waitFor('wrote: from thirty-two')
    await pae.console.waitFor('offer: answer: mini has read 15 characters')
    for (const host of [first, second]) expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('that ends by a fault is told of with its instruction and registers', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
    await domain.console.waitFor('2048 pages')
    await domain.console.write('fault\r')
    expect(await domain.waitForShutdown()).toBe('crash')
    expect(domain.crash?.message).toMatch(/page fault: write to 0x1000 from kernel mode/)
    expect(domain.crash?.text).toMatch(/movl +\$0x1,0x1000\n/)
  })
})
