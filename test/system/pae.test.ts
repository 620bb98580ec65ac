/**
 * A 32-bit PV kernel of our own beside a 64-bit one: console, XenStore, timer, events and grants between the two. Its source,
 * test/guests/pae.c, is built by gcc where there is one.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CompatVcpuGuestContext } from '../../src/abi/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { transportPair, writeCoreDump } from '../../src/toolstack/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { whyMissing } from '../support/guests.ts'
import { hostsOfTests, startMini } from '../support/mini.ts'
import { buildNative } from '../support/native-build.ts'
import { verifyStream } from '../support/verify-stream.ts'

const built = buildNative(resolve(import.meta.dirname, '../guests/pae.c'), [
  '-m32', '-O1', '-static', '-nostdlib', '-ffreestanding', '-fno-pic', '-no-pie', '-fno-stack-protector', '-mgeneral-regs-only',
  '-fno-tree-loop-distribute-patterns', '-fcf-protection=none', '-Wl,--build-id=none', '-Wl,-Ttext-segment=0xc0100000', '-Wl,-z,noexecstack', '-Wl,-estart',
])
const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })

describe.skipIf(built.path === undefined)(`a 32-bit kernel${built.reason === undefined ? '' : ` (${built.reason})`}`, () => {
  const kernel = (): Uint8Array => readFileSync(built.path!)

  test('starts, reads and writes XenStore, gets its timer and powers off', { timeout: 30_000 }, async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
      await domain.console.waitFor('pae: xen-3.0-x86_32p, 2048 pages')
      await domain.console.write('read name\r')
      await domain.console.waitFor('read: pae')
      await domain.console.write('write hello\r')
      await domain.console.waitFor('write: OK')
      expect(host.store.read(`/local/domain/${domain.id}/data`)).toBe('hello')
      await domain.console.write('timer\r')
      await domain.console.waitFor('timer: it came')
      await domain.console.write('off\r')
      expect(await domain.waitForShutdown()).toBe('poweroff')
      await host.settled()
    })
  })

  test('shares grants and events with a 64-bit kernel, whichever offers', { timeout: 30_000 }, async () => {
    const host = await boot()
    const [mini, pae] = [await startMini(host), await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })]
    await pae.console.waitFor('2048 pages')
    await pae.console.write(`offer ${mini.id} from thirty-two\r`)
    const [, peer] = await pae.console.waitFor(/offer: (peer \d+ \d+ \d+)/) as unknown as RegExpExecArray
    await mini.console.write(`${peer}\r`)
    await mini.console.waitFor('wrote: from thirty-two')
    await mini.console.waitFor('peer: answered, status 0')
    await pae.console.waitFor('offer: answer: mini has read 15 characters')
    await mini.console.write(`offer ${pae.id} from sixty-four\r`)
    const [, other] = await mini.console.waitFor(/offer: (peer \d+ \d+ \d+)/) as unknown as RegExpExecArray
    await pae.console.write(`${other}\r`)
    await pae.console.waitFor('peer: wrote: from sixty-four')
    await pae.console.waitFor('peer: answered, status 0')
    await mini.console.waitFor('offer: answer: pae has read it')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('is saved and restored, in the stream of a 32-bit domain', { timeout: 60_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
    await domain.console.waitFor('2048 pages')
    await domain.console.write('suspend\r')
    const file = new ByteCollector()
    await domain.save(file)
    if (whyMissing('verifyStream', 'xenPython') === undefined) expect(verifyStream(file.bytes())).toMatchObject({ status: 0 })
    const again = await host.restore(file.bytes(), { kernel: kernel() })
    await again.console.waitFor('suspend: is back')
    await again.console.write('read name\r')
    await again.console.waitFor('read: pae')
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
    await domain.console.waitFor('2048 pages')
    for (const target of [second, first]) {
      // Only a list that is described can be copied live.
      await domain.console.write('describe\r')
      await domain.console.waitFor('describe: done')
      await domain.console.write('suspend\r')
      const { ends } = transportPair()
      const [there] = await Promise.all([target.receiveMigration(ends[1]), domain.migrate(ends[0], { live: true })])
      await there.console.waitFor('suspend: is back')
      domain = there
    }
    await domain.console.write('read name\r')
    await domain.console.waitFor('read: pae')
    expect(first.hypervisor.checkInvariants()).toEqual([])
  })

  test('that cannot take a fault is told of with its instruction and registers', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'pae', memory: 8, kernel: kernel() })
    await domain.console.waitFor('2048 pages')
    await domain.console.write('fault\r')
    expect(await domain.waitForShutdown()).toBe('crash')
    expect(domain.crash?.message).toMatch(/page fault: write to 0x1000 from kernel mode at main/)
    expect(domain.crash?.text).toMatch(/movl +\$0x1,0x1000\n/)
  })
})
