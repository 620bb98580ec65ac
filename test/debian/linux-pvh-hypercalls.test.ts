/**
 * Debian's Linux as a PVH guest makes the hypercalls that it makes on real Xen, in the same order and with the same results, from its
 * first instruction through front-ends, memory and vCPU targets to a save and a restore; and the toolstack tells it the same.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HVM_PARAM } from '../../src/abi/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, MemoryFiles } from '../../src/index.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { CHANCE, CaptureTaker, readCapture, type Capture } from '../support/hypercall-capture.ts'
import { LinuxGuest } from '../support/linux.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')
const PATIENCE = 600_000
const onXen = readCapture(readFileSync(new URL('../golden/linux-pvh-hypercalls-xen-4.17.txt', import.meta.url), 'utf8'))

const MEBIBYTE_PAGES = 256
/** Pages that a domain has beside its memory: special ones, ACPI's. */
const BESIDE = 17
/** What is left of them: a page of the guest's has made room for one that it shares. */
const LEFT = 16

function ramdisk(): Uint8Array {
  const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}`)
  return busyboxInitramfs({
    busybox: readFileSync(guestFile('busybox')!),
    files: { 'm/xen-blkfront.ko': module('block/xen-blkfront.ko'), 'm/xen-netfront.ko': module('net/xen-netfront.ko') },
  })
}

/** What the host counts of the domain's pages at the ends of phases. */
type Pages = Record<string, number>

/** All that the domain of the capture went through. */
async function live(host: Host, taker: CaptureTaker): Promise<{ pages: Pages; parameters: Record<string, bigint> }> {
  const pages: Pages = {}
  taker.phase('boot')
  let domain = await host.createDomain({
    name: 'linux', type: 'pvh', kernel: 'linux', ramdisk: 'disk', memory: 160, maxMemory: 192, vcpus: 2, commandLine: 'console=hvc0 panic=-1 rdinit=/init',
    disks: ['/images/one,raw,xvda,w'], nics: ['mac=00:16:3e:00:00:01'],
  }, { paused: true })
  const count = (phase: string): void => { pages[phase] = domain.info().totalPages }
  count('built')
  const parameters = Object.fromEntries(Object.entries(HVM_PARAM).map(([name, index]) => [name, host.hypervisor.getHvmParam(domain.id, index)]))
  await domain.unpause()
  let linux = await new LinuxGuest(host, domain).ready()
  count('boot')
  taker.phase('up')
  await linux.run('for file in /sys/hypervisor/properties/*; do cat $file; done')
  taker.phase('devices')
  // The back-ends of the capture have one ring, or one pair of rings; ours one for each of its vCPUs.
  await linux.run('insmod /m/xen-blkfront.ko max_queues=1; insmod /m/xen-netfront.ko max_queues=1; sleep 1; ifconfig eth0 10.0.0.1 up')
  taker.phase('mem-set')
  await domain.setMemTarget(140, { timeout: '60s' })
  count('mem-set')
  taker.phase('vcpu-set')
  await domain.setVcpus(1, { wait: true, timeout: '60s' })
  // Its ports are closed when it is down.
  await linux.run('sleep 1')
  taker.phase('save')
  const file = new ByteCollector()
  await domain.save(file)
  taker.phase('restore')
  domain = await host.restore(file.bytes(), { trust: 'all' })
  linux = new LinuxGuest(host, domain)
  await domain.console.write('\r')
  await linux.run('sleep 2; ls /sys/block/xvda > /dev/null')
  count('restore')
  taker.phase('shutdown')
  expect(await domain.shutdown({ timeout: '60s' })).toBe('poweroff')
  return { pages, parameters }
}

describe.skipIf(missing !== undefined)(`Linux's hypercalls as a PVH guest${missing ?? ''}`, { timeout: PATIENCE }, () => {
  let host: Host | undefined
  let here: Capture
  let told: Awaited<ReturnType<typeof live>>

  beforeAll(async () => {
    host = await Host.boot({
      memory: 320, dom0Memory: 16, decompress: optionalDecompressor, openDisk: () => new MemoryBlockStore(4 << 20),
      files: new MemoryFiles({ linux: readFileSync(guestFile('linux')!), disk: ramdisk() }),
    })
    const taker = new CaptureTaker(host.hypervisorEvents, host.dom0.kernel.domid)
    told = await live(host, taker)
    here = taker.taken()
  }, PATIENCE)
  afterAll(() => host?.shutdown())

  test.each([...onXen.phases.keys()])('in the phase %s they are those of real Xen, in order, with the same results', (phase) => {
    expect(here.phases.get(phase)).toEqual(onXen.phases.get(phase))
  })

  test('no call is made on one side only', () => {
    // Its end is not in the capture.
    expect([...here.counts.keys()].sort()).toEqual([...onXen.counts.keys()].sort())
    expect(CHANCE.every((name) => onXen.counts.has(name))).toBe(true)
  })

  test('the domain owns as many pages at each step as on real Xen', () => {
    expect(told.pages).toEqual({
      built: 160 * MEBIBYTE_PAGES + BESIDE, boot: 160 * MEBIBYTE_PAGES + LEFT, 'mem-set': 140 * MEBIBYTE_PAGES + LEFT, restore: 140 * MEBIBYTE_PAGES + LEFT,
    })
  })

  test('the parameters are those that xl sets', () => {
    expect(told.parameters).toMatchObject({
      STORE_PFN: 0xfeffcn, STORE_EVTCHN: 1n, IOREQ_PFN: 0xfeffdn, BUFIOREQ_PFN: 0xfeffbn, TIMER_MODE: 1n, IDENT_PT: 0xfeffe000n, CONSOLE_PFN: 0xfefffn,
      CONSOLE_EVTCHN: 2n, PAGING_RING_PFN: 0xfeff8n, MONITOR_RING_PFN: 0xfeff9n, SHARING_RING_PFN: 0xfeffan, CALLBACK_IRQ: 0n, ALTP2M: 0n,
    })
  })
})
