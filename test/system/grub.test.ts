/**
 * Debian's GRUB for Xen, PV kernels of 64 and of 32 bits that nobody here wrote, on a host of ours: its console against the
 * capture from real Xen, commands typed and answered, and its power-off.
 */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { Host, MemoryFiles } from '../../src/index.ts'
import { playConsole, withoutLeaks } from '../../src/testing/index.ts'
import { guestFile, whyMissing } from '../support/guests.ts'

const KERNEL = '.guests/grub-xen-host/usr/lib/grub-xen/grub-x86_64-xen.bin'
const description = readFileSync(new URL('../../examples/xen/grub', import.meta.url), 'utf8')
const missing = whyMissing('grub64')

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

describe.skipIf(missing !== undefined)(`GRUB's Xen image${missing ?? ''}`, () => {
  test('boots to its prompt, answers commands, and powers off', { timeout: 60_000 }, async () => {
    const host = await Host.boot({
      memory: 128,
      dom0Memory: 8,
      files: new MemoryFiles({ [KERNEL]: readFileSync(guestFile('grub64')!) }),
    })
    hosts.push(host)
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain(description, { source: 'examples/xen/grub' })
      expect(domain.config).toMatchObject({ name: 'grub', memory: 64, kernel: KERNEL })
      const found = await playConsole(domain, [
        { expect: /Welcome to GRUB![\s\S]*GNU GRUB {2}version 2\.\d+/ },
        { expect: 'grub> ' },
        { type: 'ls\r' },
        { expect: /\n([^\n]*)\ngrub> / },
        { type: 'echo hello\r' },
        { expect: /\n([^\n]*)\ngrub> / },
        { type: 'halt\r' },
      ])
      expect(found[2]?.[1]).toBe('(memdisk) (proc) ')
      expect(found[3]?.[1]).toBe('hello')
      expect(await domain.waitForShutdown()).toBe('poweroff')
      await host.settled()
      expect(host.domains()).toEqual([])
    })
  })
})

const missing32 = whyMissing('grub32')

describe.skipIf(missing32 !== undefined)(`GRUB's Xen image of 32 bits${missing32 ?? ''}`, () => {
  test('boots to its prompt by its name, answers commands, and powers off', { timeout: 60_000 }, async () => {
    const files = new MemoryFiles({ '/usr/lib/grub-xen/grub-i386-xen.bin': readFileSync(guestFile('grub32')!) })
    const host = await Host.boot({ memory: 128, dom0Memory: 8, files })
    hosts.push(host)
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain({ name: 'grub', memory: 64, kernel: 'pvgrub32' })
      const found = await playConsole(domain, [
        { expect: /Welcome to GRUB![\s\S]*GNU GRUB {2}version 2\.\d+/ },
        { expect: 'grub> ' },
        { type: 'ls\r' },
        { expect: /\n([^\n]*)\ngrub> / },
        { type: 'echo hello $grub_cpu-$grub_platform\r' },
        { expect: /\n([^\n]*)\ngrub> / },
        { type: 'halt\r' },
      ])
      expect(found[2]?.[1]).toBe('(memdisk) (proc) ')
      expect(found[3]?.[1]).toBe('hello i386-xen')
      expect(await domain.waitForShutdown()).toBe('poweroff')
      await host.settled()
      expect(host.domains()).toEqual([])
    })
  })
})
