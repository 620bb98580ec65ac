/**
 * The core of a domain that has crashed: written where the host's settings say, before the domain is destroyed or
 * restarted, in the form that binutils and Xen's tools read.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Host, type DomainOptions, type HostOptions, type KernelSource } from '../../src/index.ts'
import { decodeVcpuContext } from '../../src/hypervisor/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'

const hosts: Host[] = []
const hasGdb = spawnSync('gdb', ['--version']).status === 0
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

async function crashing(options: HostOptions, domain: Partial<DomainOptions<KernelSource>>): Promise<Host> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, ...options })
  hosts.push(host)
  const guest = await host.createDomain({ name: 'broken', memory: 4, ...domain })
  if (domain.kernel === undefined) await guest.console.waitFor('mini:')
  // A crash without a guest's help: the toolstack says that it has crashed.
  host.hypervisor.shutdownDomain(guest.id, 3)
  await host.settled()
  return host
}

/** Sections of an ELF file by name. */
function sectionsOf(file: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const header = (i: number) => {
    const at = Number(view.getBigUint64(40, true)) + i * 64
    const place = Number(view.getBigUint64(at + 24, true))
    return { name: view.getUint32(at, true), bytes: file.subarray(place, place + Number(view.getBigUint64(at + 32, true))) }
  }
  const names = header(view.getUint16(62, true)).bytes
  return new Map(Array.from({ length: view.getUint16(60, true) }, (_, i) => {
    const { name, bytes } = header(i)
    return [Buffer.from(names.subarray(name, names.indexOf(0, name))).toString(), bytes]
  }))
}

describe('a domain whose crash asks for a core dump', () => {
  test('leaves its memory and registers, and is destroyed', async () => {
    const cores: { name: string; output: ByteCollector }[] = []
    const openCore = ({ name }: { name: string }): ByteCollector => {
      const output = new ByteCollector()
      cores.push({ name, output })
      return output
    }
    const host = await crashing({ openCore }, { actions: { crash: 'coredump-destroy' } })
    expect(host.domains()).toEqual([])
    expect(host.warnings).toEqual([])
    expect(cores.map(({ name, output }) => [name, output.closed])).toEqual([['broken', true]])
    const core = cores[0]!.output.bytes()
    const sections = sectionsOf(core)
    expect([...sections.keys()]).toEqual(['', '.note.Xen', '.xen_prstatus', '.xen_shared_info', '.xen_p2m', '.shstrtab', '.xen_pages'])
    const notes = new DataView(sections.get('.note.Xen')!.slice().buffer)
    // None; the header: magic, vCPUs, pages, size of a page.
    expect([notes.getUint32(8, true), notes.getUint32(16 + 8, true)]).toEqual([0x200_0000, 0x200_0001])
    expect([0, 1, 2, 3].map((i) => notes.getBigUint64(32 + i * 8, true))).toEqual([0xf00f_ebedn, 1n, 1024n, 4096n])
    const pages = sections.get('.xen_pages')!
    expect(pages.length).toBe(4 << 20)
    const list = new BigUint64Array(sections.get('.xen_p2m')!.slice().buffer)
    expect(list.filter((_, i) => i % 2 === 0)).toEqual(BigUint64Array.from({ length: 1024 }, (_, pfn) => BigInt(pfn)))
    const prstatus = sections.get('.xen_prstatus')!
    expect(prstatus.length).toBe(5168)
    const context = decodeVcpuContext(new DataView(prstatus.buffer, prstatus.byteOffset, prstatus.length), 0)
    // The page tables that it ran on are a page of the dump, with a reference back to the hypervisor's table in slot 256.
    const root = Array.from({ length: 1024 }, (_, pfn) => pfn).find((pfn) => list[pfn * 2 + 1] === BigInt(context.kernelTable))!
    expect(new DataView(pages.buffer, pages.byteOffset + root * 4096).getUint8(256 * 8) & 1).toBe(1)
    // The build that is embedded says who it is somewhere in its memory.
    expect(Buffer.from(pages).includes('mini:')).toBe(true)
  })

  test('is restarted afterwards when it asks for that', async () => {
    const output = new ByteCollector()
    const host = await Host.boot({ memory: 64, dom0Memory: 16, openCore: async () => output })
    hosts.push(host)
    const guest = await host.createDomain({ name: 'again', memory: 4, actions: { crash: 'coredump-restart' } })
    await host.until('it is old enough to be restarted', () => host.now() > 11e9, { timeout: 60e9 })
    host.hypervisor.shutdownDomain(guest.id, 3)
    await host.settled()
    expect(host.domains().map(({ name, id }) => [name, id === guest.id])).toEqual([['again', false]])
    expect(output.closed).toBe(true)
  })

  test('is destroyed also when the target fails, which is told', async () => {
    const output = new ByteCollector(100_000)
    const failures: string[] = []
    const host = await Host.boot({ memory: 64, dom0Memory: 16, openCore: () => output })
    hosts.push(host)
    host.events.on('action-failed', ({ action, error }) => void failures.push(`${action}: ${(error as Error).message}`))
    const guest = await host.createDomain({ name: 'unlucky', memory: 4, actions: { crash: 'coredump-destroy' } })
    host.hypervisor.shutdownDomain(guest.id, 3)
    await host.settled()
    expect(host.domains()).toEqual([])
    expect(failures).toEqual([expect.stringMatching(/^coredump-destroy: .*the disk is full/)])
    expect(output.closed).toBe(false)
    expect(output.aborted).toBeInstanceOf(Error)
  })

  test('is only destroyed, with a warning, on a host that opens no target', async () => {
    const host = await crashing({}, { actions: { crash: 'coredump-destroy' } })
    expect(host.warnings.map(({ message }) => message)).toEqual([expect.stringMatching(/coredump-destroy of broken.*destroy instead/)])
  })

  test('may be written in TypeScript: then it has memory and no registers', async () => {
    const output = new ByteCollector()
    await crashing({ openCore: () => output }, { kernel: () => undefined, actions: { crash: 'coredump-destroy' } })
    expect(sectionsOf(output.bytes()).get('.xen_prstatus')).toHaveLength(0)
    expect(sectionsOf(output.bytes()).get('.xen_pages')).toHaveLength(4 << 20)
  })
})

test('binutils reads a core', async () => {
  const output = new ByteCollector()
  await crashing({ openCore: () => output }, { actions: { crash: 'coredump-destroy' } })
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-core-'))
  try {
    writeFileSync(join(folder, 'core'), output.bytes())
    const text = execFileSync('readelf', ['-h', '-S', '-W', join(folder, 'core')], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
    for (const line of [/Type: +CORE/, /Machine: +Advanced Micro Devices X86-64/, /\.xen_p2m +PROGBITS .* 004000 10 /, /\.xen_pages +PROGBITS .* 400000 1000 /]) {
      expect(text).toMatch(line)
    }
    expect(text).not.toMatch(/Warning|Error/i)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

describe('the core of a running domain', () => {
  test('is written while it stands still, and it goes on; aborted, it goes on as well', async () => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16 })
    hosts.push(host)
    const domain = await host.createDomain({ name: 'mini', memory: 4 })
    await domain.console.waitFor('mini> ')
    const output = new ByteCollector()
    const paused: boolean[] = []
    const dump = domain.dumpCore(output)
    dump.progress.on('pages', () => paused.push(domain.info().paused))
    await dump
    expect([new Set(paused), domain.info().paused, output.closed]).toEqual([new Set([true]), false, true])
    const abort = new AbortController()
    const given = domain.dumpCore(new ByteCollector(), { signal: abort.signal })
    given.progress.on('pages', () => abort.abort())
    await expect(given).rejects.toMatchObject({ code: 'ABORTED' })
    await domain.console.write('echo still here\n')
    await domain.console.waitFor(/^still here$/)
    // What gdb reads: a thread with its registers, code at its instruction pointer, the kernel's text.
    if (!hasGdb) return
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-'))
    try {
      const file = join(folder, 'mini.core')
      writeFileSync(file, output.bytes())
      const kernel = new URL('../../examples/guests/mini/mini.elf', import.meta.url).pathname
      const said = execFileSync('gdb', ['-batch', '-nx', '-ex', 'info threads', '-ex', 'p/x $rip', '-ex', 'x/i $rip', kernel, file], { encoding: 'utf8' })
      expect(said).toMatch(/LWP 1/)
      expect(said).toMatch(/\$1 = 0xffffffff8000/)
      expect(said).toMatch(/=> 0xffffffff8000[0-9a-f]+:\s+[a-z]+/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
