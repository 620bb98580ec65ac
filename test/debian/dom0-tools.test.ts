/**
 * Debian's Linux as dom0, booted from a grub.conf, and in it Xen's own tools at a long session that was once typed on real Xen: what
 * they print and what they ask of the hypervisor is held against it. test/golden/dom0-differences.txt has what differs, with reasons;
 * `UPDATE_GOLDEN=true` writes it anew, without them.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embeddedKernel, Host } from '../../src/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { kernelLog } from '../support/dmesg.ts'
import { bootDisk, whyNoBootDisk } from '../support/boot-disk.ts'
import { guestRamdisk, LOAD_DRIVERS, typeInGuest } from '../support/dom0-guests.ts'
import { Dom0Shell } from '../support/dom0.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { readToolCapture } from '../support/tool-capture.ts'
import { ToolSession } from '../support/tool-session.ts'
import { readDescriptions, readTranscript, type TypedCommand } from '../support/tool-transcript.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox', 'dom0Tools')
const golden = (name: string): string => readFileSync(new URL(`../golden/dom0-${name}-xen-4.17.txt`, import.meta.url), 'utf8')
const DIFFERENCES = new URL('../golden/dom0-differences.txt', import.meta.url)
const XEN = 'com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=all dom0=pv dom0_mem=900M,max:900M dom0_max_vcpus=1'
const TIME = 1_200_000

const mini = (name: string, more: string): string => `name = "${name}"\nmemory = 32\nmaxmem = 32\n${more}\n`

/** A small guest that a host of ours has saved. */
async function savedHere(): Promise<Uint8Array> {
  await using host = await Host.boot({ memory: 64 })
  const guest = await host.createDomain({ name: 'ours', memory: 8 })
  await guest.console.waitFor('mini> ')
  const file = new ByteCollector()
  await guest.save(file)
  return file.bytes()
}

/** Dom0's disk: Debian's kernel and GRUB as guests, what the transcripts name, small guests, and domains that were saved elsewhere. */
const files = (ours: Uint8Array): Record<string, string | Uint8Array> => {
  const [, description = ''] = /fc4\.cfg is:\n([^]*?)\n\n/.exec(golden('xl-output'))!
  return {
    'g/vmlinuz': readFileSync(guestFile('linux')!), 'g/initrd.gz': guestRamdisk(), 'g/lib.sh': '#!/bin/sh\n',
    'root/fc4.cfg': `${description.replace('rdinit=/sbin/init', 'rdinit=/init')}\n`,
    ...Object.fromEntries(Object.entries(readDescriptions(golden('xl-errors'))).map(([name, text]) => [`root/${name}`, text])),
    'root/ours.save': ours,
    'root/pv.elf': embeddedKernel('pv'), 'root/pvh.elf': embeddedKernel('pvh'),
    'root/b.cfg': mini('b', 'kernel = "/root/pv.elf"\nvif = [ "bridge=nobr" ]'), 'root/m.cfg': mini('m', 'kernel = "/root/pv.elf"'), 'root/p.cfg': mini('p', 'kernel = "/root/pvh.elf"\ntype = "pvh"'),
    ...(whyNoBootDisk() === undefined ? {
      'g/grub.bin': readFileSync(guestFile('grub64')!), 'g/grub.img': bootDisk('ext2'),
      'root/grub.cfg': 'name = "grub"\nkernel = "/g/grub.bin"\nmemory = 192\ndisk = [ "/g/grub.img,raw,xvda,w" ]\n',
    } : {}),
  }
}

/** Commands up to, and from, the one of a name that comes for the so-manieth time; and so on. */
function parted(commands: readonly TypedCommand[], marks: readonly (readonly [command: string, times: number])[]): TypedCommand[][] {
  const places = marks.map(([name, times]) => commands.map(({ command }, place) => (command === name ? place : -1)).filter((place) => place >= 0)[times - 1]!)
  return [0, ...places].map((place, index) => commands.slice(place, [...places, commands.length][index]))
}

/** Explanations stand between the differences. */
const explained = (): string[] => readFileSync(DIFFERENCES, 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'))

describe.skipIf(missing !== undefined)(`Xen's own tools in Debian's Linux as dom0${missing ?? ''}`, { timeout: TIME }, () => {
  let shell: Dom0Shell
  beforeAll(async () => {
    shell = await Dom0Shell.boot({ memory: 2048, xen: XEN, files: files(await savedHere()) })
    await shell.run('mkdir /images /out; cd /g; truncate -s 8M disk.img; mke2fs -q -F disk.img >/dev/null; cp disk.img d2.img; cd /root')
  }, TIME)
  afterAll(() => shell?.host.shutdown())

  test('print and ask what they do on real Xen', async () => {
    const session = new ToolSession(shell)
    const capture = readToolCapture(golden('tool-hypercalls'))
    const captured = (name: string) => capture.find(({ command }) => command === name)
    const all = async (commands: readonly TypedCommand[]): Promise<void> => {
      // What stands in brackets says what was seen, and is no output.
      for (const { command, output } of commands) await session.type({ command, output: output.startsWith('(') ? undefined : output })
    }
    const [first, begun] = parted(readTranscript(golden('xl-output')), [['xl list', 2], ['xl block-detach fc4 xvda', 1]])
    await all(first!)
    await session.type({ command: 'xl create fc4.cfg', output: 'Parsing config from fc4.cfg', calls: captured('xl create a.cfg') })
    const [, ping] = await typeInGuest(shell, 'fc4', [LOAD_DRIVERS, 'ifconfig eth0 192.168.1.2 up; ping -c 2 192.168.1.1'])
    expect(ping).toContain('2 packets received')
    await all(begun!)
    await all(readTranscript(golden('xl-errors')))
    const [, life] = parted(readTranscript(golden('xl-lifecycle')), [['xl pause fc4', 1], ['xl destroy fc4', 1]])
    await all(life!)
    const [written] = await typeInGuest(shell, 'fc4', ['mkdir -p /mnt; mount /dev/xvda /mnt && echo hello >/mnt/file && umount /mnt && echo written'])
    expect(written).toContain('written')
    // The last session had a guest of another name.
    await shell.run('xl rename fc4 a')
    const outputs = new Map(readTranscript(golden('tools-output')).map(({ command, output }) => [command, output]))
    for (const calls of capture.slice(capture.findIndex(({ command }) => command === 'xl vcpu-list'))) {
      const { command } = calls
      if (/^(?:after|xl save \(|front-ends|"python)/.test(command)) continue
      if (command.startsWith('xl restore')) break
      // A quotation mark is missing there, and most of what xen-cpuid prints.
      await session.type({ command: command.startsWith('xl cpupool-create') ? `${command}'` : command, calls, output: command === 'xen-cpuid -p' ? undefined : outputs.get(command) })
      if (command === 'xl rename a b') await shell.run('xl rename b a')
    }
    await shell.run('xl destroy a')
    if (process.env['UPDATE_GOLDEN'] === 'true') writeFileSync(DIFFERENCES, `${session.differences.join('\n')}\n`)
    expect(session.compared).toEqual({ outputs: 154, calls: 52 })
    expect(session.differences.flatMap((lines) => lines.split('\n'))).toEqual(explained())
  })

  test.skipIf(whyNoBootDisk() !== undefined)(`boot Debian's kernel by GRUB from a disk that blkback serves${whyNoBootDisk() ?? ''}`, async () => {
    await shell.run('xl create grub.cfg')
    const [line, disk] = await typeInGuest(shell, 'grub', ['cat /proc/cmdline', 'insmod /m/xen-blkfront.ko; head -c 4096 /dev/xvda | wc -c'])
    expect([line, disk]).toEqual([expect.stringContaining('from=grub.cfg'), expect.stringContaining('4096')])
    // Half of dom0's memory is room for files, and what the session has saved takes much of it.
    await shell.run('rm -f /images/p.save')
    // The guest goes on where it was: its shell knows what it was told, and its disk is connected anew.
    await typeInGuest(shell, 'grub', ['before=saving'])
    expect(await shell.run('xl save grub /tmp/grub.save 2>&1; xl list grub 2>&1; true')).toContain('grub is an invalid domain identifier')
    await shell.run('xl restore /tmp/grub.save && rm /tmp/grub.save')
    const [told, again] = await typeInGuest(shell, 'grub', ['echo "known: $before"', 'head -c 8192 /dev/xvda | tail -c 4096 | wc -c'])
    expect([told, again]).toEqual([expect.stringContaining('known: saving'), expect.stringContaining('4096')])
    await shell.run('xl destroy grub')
  })

  test('restore a domain that our host has saved, and save one that our host restores', async () => {
    await shell.run('xl restore /root/ours.save')
    expect(await shell.run('timeout 2 xl console ours; true')).toContain('mini: restored')
    await shell.run('xl destroy ours')
    await shell.run('xl create m.cfg; sleep 1; xl save m /tmp/m.save')
    const text = await shell.run('gzip -c /tmp/m.save | base64')
    await using host = await Host.boot({ memory: 64 })
    const guest = await host.restore(gunzipSync(Buffer.from(text, 'base64')))
    await guest.console.waitFor('mini: restored')
    expect([guest.name, guest.uuid.length]).toEqual(['m', 36])
  })

  test('save, restore, migrate and end small guests', async () => {
    expect(await shell.run('xl create m.cfg; sleep 1; xl save m /tmp/m.sav && xl restore /tmp/m.sav && xl list')).toMatch(/^m +\d+ +32/m)
    expect(await shell.run("xl migrate -s '' m 'xl migrate-receive' 2>&1")).toContain('Migration successful.')
    expect(await shell.run('timeout 2 xl console m; true')).toContain('mini: restored')
    expect(await shell.run('xl destroy m; xl create p.cfg; sleep 1; xl destroy p; sleep 1; xl list | wc -l')).toMatch(/^2$/m)
    expect(shell.host.listDomains().map(({ id }) => id)).toEqual([0])
    expect(shell.host.hypervisor.checkInvariants()).toEqual([])
  })

  test('leave no complaint in the log of dom0\'s kernel', async () => {
    expect((await shell.ask(kernelLog('WARNING|Oops|BUG:|Call Trace|blocked for more than|hung'))).output).toBe('')
  })
})
