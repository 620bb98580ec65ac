/**
 * PVH guests without Linux: GRUB's image for PVH, a kernel of 32 bits that polls, through all that a toolstack does with a
 * domain. Linux as a PVH guest is in linux-pvh.test.ts and linux-save.test.ts.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Host, MemoryFiles, XenError, embeddedKernel, type Domain } from '../../src/index.ts'
import { transportPair } from '../../src/toolstack/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { takeCensus } from '../support/hypercall-census.ts'
import { hostsOfTests } from '../support/mini.ts'
import { verifyStream } from '../support/verify-stream.ts'

const missing = whyMissing('grubPvh')
const PATIENCE = 120_000
const boot = hostsOfTests({ memory: 160, dom0Memory: 16 })
const kernel = (): Uint8Array => readFileSync(guestFile('grubPvh')!)

const start = async (host: Host): Promise<Domain> => {
  const domain = await host.createDomain({ name: 'grub', type: 'pvh', memory: 48, kernel: kernel() })
  await domain.console.waitFor('grub>')
  return domain
}

/** What GRUB calls on real Xen 4.17 up to its prompt, but for events, yields and how it writes to the console. */
const CALLS_ON_XEN: Readonly<Record<string, number>> = {
  'memory_op/memory_map': 1, 'hvm_op/get_param': 4, 'memory_op/add_to_physmap': 2, 'grant_table_op/set_version': 1, 'grant_table_op/setup_table': 1,
  'memory_op/set_memory_map': 1,
}

/** GRUB answers what it is asked. */
async function answers(domain: Domain, word: string): Promise<void> {
  await domain.console.write(`echo ${word}-$grub_cpu-$grub_platform\r`)
  await domain.console.waitFor(`${word}-i386-xen_pvh`)
}

/** No rule of the hypervisor's is broken, and no processor remembers what is not so. */
const isSound = (host: Host): void => {
  expect(host.hypervisor.checkInvariants()).toEqual([])
}

describe.skipIf(missing !== undefined)(`GRUB as a PVH guest${missing ?? ''}`, { timeout: PATIENCE }, () => {
  test('comes to its prompt by the hypercalls that it makes on real Xen, and answers; the toolstack shows it as any other', async () => {
    const host = await boot()
    const census = takeCensus(host.hypervisorEvents)
    const domain = await start(host)
    census.stop()
    const own = [...census.counts].filter(([name]) => name in CALLS_ON_XEN || !/^(event_channel_op|sched_op|grant_table_op|console_io|set_timer_op)/.test(name))
    expect(Object.fromEntries(own)).toEqual(CALLS_ON_XEN)
    await answers(domain, 'first')
    expect(domain.info()).toMatchObject({ kind: 'pvh', translated: true, onlineVcpus: 1 })
    const { store } = host
    const path = `/local/domain/${domain.id}`
    expect([store.read(`/libxl/${domain.id}/type`), store.read(`${path}/store/ring-ref`), store.read(`${path}/console/ring-ref`)]).toEqual(['pvh', '1044476', '1044479'])
    await domain.pause()
    await domain.unpause()
    await answers(domain, 'again')
    isSound(host)
    await domain.destroy()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('is stopped, saved in Xen\'s form and goes on on another host, and moves back while it runs', async () => {
    const first = await boot()
    let domain = await start(first)
    await domain.save(new ByteCollector(), { afterwards: 'resume' })
    await answers(domain, 'resumed')
    const target = new ByteCollector()
    await domain.save(target)
    const verifying = whyMissing('verifyStream', 'xenPython')
    if (verifying === undefined) expect(verifyStream(target.bytes())).toMatchObject({ status: 0 })
    const second = await boot()
    domain = await second.restore(target.bytes(), { trust: 'all' })
    await answers(domain, 'restored')
    const { ends } = transportPair()
    const receiving = first.receiveMigration(ends[1], { trust: 'all' })
    const { rounds } = await domain.migrate(ends[0])
    expect(rounds).toBeGreaterThan(0)
    domain = await receiving
    await answers(domain, 'moved')
    isSound(first)
    isSound(second)
  })

  test('leaves a core in the form of translated guests when it is taken to have crashed', async () => {
    const core = new ByteCollector()
    const host = await boot({ openCore: () => core })
    const domain = await host.createDomain({ name: 'grub', type: 'pvh', memory: 48, kernel: kernel(), actions: { crash: 'coredump-destroy' } })
    await domain.console.waitFor('grub>')
    host.hypervisor.shutdownDomain(domain.id, 3)
    await host.settled()
    const bytes = Buffer.from(core.bytes())
    expect(bytes.includes('.xen_pfn')).toBe(true)
    // Its magic, one vCPU, its memory and 17 pages beside it.
    const header = bytes.indexOf(Buffer.from(BigUint64Array.of(0xf00febeen, 1n, 48n * 256n + 17n, 4096n).buffer))
    expect(header).toBeGreaterThan(0)
  })

  test('is found by its file\'s name', async () => {
    const host = await boot({ files: new MemoryFiles({ '/usr/lib/grub-xen/grub-i386-xen_pvh.bin': kernel() }) })
    const domain = await host.createDomain('name = "g"\ntype = "pvh"\nmemory = 48\nkernel = "grub-i386-xen_pvh.bin"')
    await domain.console.waitFor('grub>')
  })

  test('is no PV guest, nor is a PV kernel a PVH guest: both are told so, and nothing is left of them', async () => {
    const host = await boot()
    const refusal = (type: 'pv' | 'pvh', image: Uint8Array): Promise<unknown> =>
      host.createDomain({ name: 'x', type, memory: 48, kernel: image }).then(() => 'created', (error: unknown) => XenError.is(error) && error.message)
    expect(await refusal('pv', kernel())).toMatch(/ELFCLASS32|a PVH guest alone/)
    expect(await refusal('pvh', embeddedKernel('pv'))).toMatch(/a PV guest alone, with type="pv"/)
    expect(host.domains()).toEqual([])
  })
})
