/**
 * Saving and restoring on whole hosts: a domain that real Xen saved goes on here, domains saved here go on here, and
 * whatever fails leaves everything as it was.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { Host } from '../../src/index.ts'
import { savedMini } from '../support/saved-mini.ts'

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

async function boot(options: Parameters<typeof Host.boot>[0] = {}): Promise<Host> {
  const host = await Host.boot({ memory: 64, dom0Memory: 8, ...options })
  hosts.push(host)
  return host
}

describe('a domain that real Xen saved', () => {
  test('goes on here: it finds its frames, says who it is, and obeys', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await host.restore(savedMini())
    await domain.console.waitFor(/mini: restored\r\non Xen 4\.17/)
    await domain.console.waitFor('memory: 4096 KiB of 4096 KiB, kernel and tables 152 KiB, 0 frames disagree')
    await domain.console.waitFor(`domain ${domain.id}, name: mini1`)
    await domain.console.write('mem\r')
    await domain.console.waitFor('0 frames disagree')
    await domain.console.write('ticks 2\r')
    await domain.console.waitFor('tick 2')
    expect(await domain.shutdown()).toBe('poweroff')
  })
})
