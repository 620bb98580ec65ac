/**
 * GNU Mach as a PV guest, a kernel of another family: its demands stand in the older `__xen_guest` section, it builds all page tables
 * anew and leaves those that it was given. Debian's build writes straight into a level-2 table, which no Xen lets a guest do, and
 * ends there; with that store left out it comes as far as a microkernel without servers comes.
 */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { guestFile, whyMissing } from '../support/guests.ts'
import { hostsOfTests } from '../support/mini.ts'

const missing = whyMissing('gnumach')
const boot = hostsOfTests({ memory: 192, dom0Memory: 8 })

/** mov 0x1000(%rax),%rdx; mov %rdx,(%rax): an entry of the level-2 table copied into its first place. */
const COPY = Buffer.from('488b9000100000488910', 'hex')
const STORE = 7

describe.skipIf(missing !== undefined)(`GNU Mach${missing ?? ''}`, { timeout: 60_000 }, () => {
  const kernel = (): Buffer => gunzipSync(readFileSync(guestFile('gnumach')!))

  test('ends where it writes into a level-2 table, as on Xen', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'mach', memory: 128, kernel: kernel(), actions: { crash: 'preserve', poweroff: 'preserve', reboot: 'preserve' } })
    await domain.waitForShutdown()
    const { exception } = domain.crash!
    expect(exception).toMatchObject({ name: 'page fault', errorCode: 7 })
    const { frame } = host.hypervisor.translate(domain.id, exception!.address!)!
    expect(host.hypervisor.frameInfo(frame)).toMatchObject({ owner: domain.id, type: 'l2' })
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('with that left out finds its memory, looks for its devices, and lacks its servers', async () => {
    const host = await boot()
    const image = kernel()
    // It stands in another function as well, before this one.
    const at = image.lastIndexOf(COPY)
    expect(at).toBeGreaterThan(0)
    image.fill(0x90, at + STORE, at + COPY.length)
    const domain = await host.createDomain({ name: 'mach', memory: 128, kernel: image, actions: { crash: 'preserve', poweroff: 'preserve', reboot: 'preserve' } })
    await domain.waitForShutdown()
    await host.settled()
    const text = domain.console.text()
    expect(text).toMatch(/^GNU Mach 1\.8\S*\nRunning on xen-3\.0-x86_64\.\n/m)
    expect(text).toMatch(/vm_page: DMA32: pages: 28672 \(112M\)/)
    expect(text).toContain('hd: No block device (ENOENT)')
    expect(text).toContain('bootstrap_create: No bootstrap code loaded with the kernel!')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
