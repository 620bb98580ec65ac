/**
 * `dd` of Debian's Linux on a disk of ours, past its page cache: with one ring of one page, eleven pages a request and each page mapped anew, against what both halves
 * can do. Each is a host of its own; they take turns.
 */
import { readFileSync } from 'node:fs'
import { MemoryBlockStore } from '../../../src/drivers/index.ts'
import type { Report } from '../report.ts'
import { guestFile, whyMissing } from '../../support/guests.ts'
import { bootLinuxHost, createLinux, SECOND, type LinuxGuest } from '../../support/linux.ts'
import { bestRates, type Work } from './rates.ts'

const MIB = 1 << 20
const DISK = 64 * MIB
const ROUNDS = 3

/** Parameters of xen-blkfront. */
const WITHOUT = 'max_queues=1 max_indirect_segments=0 feature_persistent=0'
const WITH = 'max_ring_page_order=1 max_indirect_segments=128'

/** What dd does: bytes of a request, how many of them, and which way. */
const CASES = [
  { name: 'dd of Linux reads, 1 MiB at a time', block: '1M', count: 64, mebibytes: 64, write: false },
  { name: 'dd of Linux writes, 1 MiB at a time', block: '1M', count: 64, mebibytes: 64, write: true },
  { name: 'dd of Linux reads, 4 KiB at a time', block: '4k', count: 1024, mebibytes: 4, write: false },
] as const

async function start(parameters: string): Promise<LinuxGuest> {
  const store = new MemoryBlockStore(DISK)
  store.bytes.fill(0x5a)
  const host = await bootLinuxHost({ memory: 320, openDisk: () => store })
  const blkfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/block/xen-blkfront.ko`)
  const linux = await createLinux(host, { domain: { memory: 240, vcpus: 2, disks: ['/any,raw,xvda,w'] }, files: { 'm/xen-blkfront.ko': blkfront } })
  await linux.ready()
  await linux.run(`insmod /m/xen-blkfront.ko ${parameters} && while [ ! -b /dev/xvda ]; do sleep 0.1; done`, { timeout: 60 * SECOND })
  return linux
}

/** Measures and reports; says why not where there is no such Linux. */
export async function linuxDisk(report: Report): Promise<void> {
  const missing = whyMissing('linux', 'linuxModules', 'busybox')
  if (missing !== undefined) {
    report({ case: 'dd of Linux', value: 0, unit: 'MiB/s', baseline: `absent: Debian's Linux${missing}`, ratio: null, target: null, met: null })
    return
  }
  const linuxes = [await start(WITH), await start(WITHOUT)]
  for (const { name, block, count, mebibytes, write } of CASES) {
    const command = write ? `dd if=/dev/zero of=/dev/xvda bs=${block} count=${count} oflag=direct 2>/dev/null` : `dd if=/dev/xvda of=/dev/null bs=${block} count=${count} iflag=direct 2>/dev/null`
    const work = (linux: LinuxGuest): Work => async () => void await linux.run(command, { timeout: 3600 * SECOND })
    const [value = 0, without = 0] = await bestRates(linuxes.map((linux) => ({ work: work(linux), count: mebibytes })), ROUNDS)
    report({ case: name, value, unit: 'MiB/s', baseline: `without the features: ${without.toFixed(1)} MiB/s`, ratio: value / without, target: null, met: null })
  }
  for (const { host } of linuxes) await host.shutdown()
}
