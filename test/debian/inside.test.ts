/**
 * Debian's stock Linux seen from inside and from outside: page tables as its /proc has them, ports as its /proc/interrupts, a disk's ring as its own statistics, and the system calls of
 * Debian's BusyBox as Debian's strace sees the same program make them on the processor underneath.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { followSystemCalls, inspectDomain, linux as view, type SharedRing } from '../../src/debug/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { debianGuests } from '../../src/node/index.ts'
import { linux, type LinuxShell } from '../../src/testing/index.ts'
import { GUESTS_FOLDER, guestFile, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'
import { whyNoProgram } from '../support/programs.ts'

const PATIENCE = { timeout: 300_000 }
const lacking = whyMissing(...LINUX_FILES, 'linuxModules') ?? whyNoProgram('strace', '--version')
const folder = mkdtempSync(join(tmpdir(), 'paravirt-inside-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** Debian on two vCPUs with its driver of disks, booted once. */
const debian = lacking === undefined ? linux({ guests: debianGuests(GUESTS_FOLDER), memory: 128, vcpus: 2, modules: ['xen-blkfront'] }) : undefined
const start = (): Promise<LinuxShell> => debian!.start()

/** What the kernel says of a process' memory: areas with their rights and how much of them is there. */
function areasOf(smaps: string): { readonly from: bigint; readonly to: bigint; readonly rights: string; readonly pages: number; readonly name: string }[] {
  return [...smaps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)\n(?:(?![0-9a-f]+-).*\n)*?Rss: +(\d+) kB/gm)]
    .map(([, from, to, rights, name, kilobytes]) => ({ from: BigInt(`0x${from!}`), to: BigInt(`0x${to!}`), rights: rights!, name: name!.trim(), pages: Number(kilobytes) / 4 }))
}

/** Calls by name, each with its first text: what strace tells of a program here, from its start on. */
function nativeCalls(command: readonly string[]): string[] {
  const file = join(folder, 'strace.txt')
  const { error } = spawnSync('strace', ['-s', '32', '-o', file, ...command], { env: { PATH: '/bin', HOME: '/' } })
  if (error !== undefined) throw error
  return [...readFileSync(file, 'utf8').matchAll(/^(\w+)\((?:(?:\w+, )?("(?:[^"\\]|\\.)*"))?/gm)].map(([, name, text]) => callOf(name!, text))
}

const callOf = (name: string, text: string | undefined): string => `${name}${text === undefined ? '' : ` ${text}`}`

/** Without what differs from place to place: where files are, bytes that are written or drawn, a name given as a number; the kernel's source has another name for one of them. */
const comparable = (calls: readonly string[], places: readonly (readonly [string, string])[]): readonly string[] =>
  calls.map((call) => places.reduce((all, [from, to]) => all.replaceAll(from, to), call).replace(/^(write|read|getrandom|prctl) .*/, '$1').replace(/^sendfile64/, 'sendfile'))

describe.skipIf(lacking !== undefined)(`inside a stock Linux${lacking ?? ''}`, PATIENCE, () => {
  test('page tables of a process have the pages and the rights that its /proc tells', async () => {
    await using shell = await start()
    const { host, domain } = shell
    const said = areasOf(`${await shell.run('sleep 1000 & sleep 0.2; cat /proc/$!/smaps')}\n`)
    expect(said.length).toBeGreaterThan(6)
    const sleeper = view(host, domain)!.tasks().find(({ name }) => name === 'sleep')!
    const tables = inspectDomain(host, domain).pageTables({ root: sleeper.pageTables! })
    const pages = [...tables.pages()].filter(({ address, isUser }) => isUser && address < 1n << 47n)
    // Pages without a structure of their own, as of [vvar], are there and not counted.
    for (const { from, to, rights, pages: count, name } of said.filter((area) => area.name !== '[vvar]')) {
      const own = pages.filter(({ address }) => address >= from && address < to)
      expect(`${name} ${own.length}`).toBe(`${name} ${count}`)
      for (const { isExecutable, isWritable } of own) expect([isExecutable, isWritable && rights[1] !== 'w']).toEqual([rights[2] === 'x', false])
    }
    expect(pages.every(({ address }) => said.some(({ from, to }) => address >= from && address < to))).toBe(true)
  })

  test('every port in use is an interrupt that its kernel counts, and a disk has the requests that it has asked for', async () => {
    await using shell = await start()
    const { host, domain } = shell
    await domain.attachDisk('phy:any,xvda,w', { store: new MemoryBlockStore(new Uint8Array(2 << 20)) })
    await shell.run('while ! test -b /dev/xvda; do sleep 0.1; done; dd if=/dev/xvda of=/dev/null bs=4k count=64 2>/dev/null; dd if=/dev/zero of=/dev/xvda bs=4k count=8 conv=fsync 2>/dev/null; sleep 0.5')
    const [interrupts, statistics] = [await shell.run('cat /proc/interrupts'), await shell.run('cat /sys/block/xvda/stat')]
    const objects = inspectDomain(host, domain)
    const own = objects.ports().filter(({ state }) => state !== 'unbound' && state !== 'reserved')
    expect(own.length).toBe([...interrupts.matchAll(/ xen-(?:percpu|dyn)\b/g)].length)
    expect([...new Set(own.map(({ state }) => state))].sort()).toEqual(['interdomain', 'ipi', 'virq'])
    const rings = objects.rings().filter((ring): ring is SharedRing => ring.kind === 'requests')
    expect(rings.length).toBeGreaterThan(0)
    // A flush is a write without sectors there.
    const [reads, , , , writes] = statistics.trim().split(/\s+/).map(Number)
    expect(rings.reduce((all, { requests }) => all + requests, 0)).toBe(reads! + writes!)
    for (const ring of rings) {
      expect(ring).toMatchObject({ device: 'vbd/51712', slots: 32, outstanding: 0 })
      if (ring.requests > 0) expect(ring.response(ring.requests - 1)).toMatchObject({ status: 0 })
      for (const ref of ring.refs) expect(objects.grants().find((grant) => grant.ref === ref)).toMatchObject({ remote: 0, kind: 'access', isMappedWritable: true })
    }
  })

  test.each(['cat /tmp/known', 'ls /tmp/empty', 'head -c 3 /tmp/known', 'cat /tmp/nobody', 'echo said'])('BusyBox makes the system calls for %s that strace sees', async (command) => {
    const words = command.split(' ')
    const root = mkdtempSync(join(folder, 'root-'))
    const native = words.map((word) => word.replace(/^\/tmp\//, `${root}/`))
    writeFileSync(join(root, 'known'), 'known words\n')
    mkdirSync(join(root, 'empty'))
    const busybox = guestFile('busybox')!
    const said = comparable(nativeCalls([busybox, ...native]), [[`${root}/`, '/tmp/'], [busybox, '/bin/busybox']])
    expect(said.length).toBeGreaterThan(8)
    await using shell = await start()
    const { host, domain } = shell
    await shell.run('mkdir -p /tmp/empty; printf "known words\\n" > /tmp/known')
    const trace = followSystemCalls(host, domain)
    // Into a pipe, as strace's.
    await shell.run(`/bin/busybox ${command} | cat`)
    trace.stop()
    const records = trace.records()
    const process = records.find(({ name, text }) => name === 'execve' && text.includes('"/bin/busybox"'))!.process
    const own = records.filter((call) => call.process === process)
    const from = own.findIndex(({ name, result }) => name === 'execve' && result === 0n)
    const told = own.slice(from).map(({ name, arguments: given }) => {
      const text = given.find(({ value }) => typeof value === 'string')?.value
      return callOf(name, typeof text === 'string' ? JSON.stringify(text.slice(0, 32)) : undefined)
    })
    expect(comparable(told, [])).toEqual(said)
    expect(own.at(-1)).toMatchObject({ name: 'exit_group', result: undefined })
  })
})
