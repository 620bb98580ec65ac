import { describe, expect, test } from 'vitest'
import { parseGrubConf } from '../../../../src/toolstack/grub/grub-conf.ts'
import { dom0Mebibytes, parseDom0Memory, parseSize } from '../../../../src/toolstack/grub/memory-size.ts'
import { parseXenOptions } from '../../../../src/toolstack/grub/xen-options.ts'

const CONF = `
# GRUB configuration of 2005
default=1
timeout=10
splashimage=(hd0,0)/grub/splash.xpm.gz
hiddenmenu
title Fedora Core (2.6.11)
	root (hd0,0)
	kernel /vmlinuz-2.6.11 ro root=/dev/hda2
title Xen 3.0
	root (hd0,0)
	kernel --type=multiboot /boot/xen.gz dom0_mem=786432 com1=115200,8n1 console=com1
	module /boot/vmlinuz-2.6-xen0 root=/dev/hda2 ro console=tty0
	module /boot/initrd-2.6-xen0.img
`

describe('a grub.conf', () => {
  test('names hypervisor, dom0 kernel and ramdisk of its default entry', () => {
    expect(parseGrubConf(CONF)).toEqual({
      title: 'Xen 3.0', timeout: 10, warnings: [], others: [],
      hypervisor: { path: '/boot/xen.gz', commandLine: 'dom0_mem=786432 com1=115200,8n1 console=com1' },
      xen: { dom0Memory: { amount: { bytes: 768 * 2 ** 20, percent: 0 } } },
      dom0: { path: '/boot/vmlinuz-2.6-xen0', commandLine: 'root=/dev/hda2 ro console=tty0' },
      ramdisk: { path: '/boot/initrd-2.6-xen0.img', commandLine: '' },
    })
  })

  test('gives another entry by number or title', () => {
    expect(parseGrubConf(CONF, { entry: 1 }).hypervisor.path).toBe('/boot/xen.gz')
    expect(parseGrubConf(CONF, { entry: 'Xen 3.0' }).title).toBe('Xen 3.0')
  })

  test('joins lines that end with a backslash', () => {
    expect(parseGrubConf('title X\nkernel /xen.gz \\\n  sched=credit2').xen).toEqual({ scheduler: 'credit2' })
  })

  test('an entry that does not boot Xen gives way to one that does, unless it was asked for', () => {
    const { title, warnings } = parseGrubConf(CONF.replace('default=1', 'default=0'))
    expect([title, warnings.map(({ message }) => message)]).toEqual([
      'Xen 3.0', ['grub.conf: entry `Fedora Core (2.6.11)` does not boot Xen; `Xen 3.0` is booted'],
    ])
    expect(() => parseGrubConf(CONF, { entry: 0 })).toThrow(/entry `Fedora Core \(2\.6\.11\)` does not boot Xen/)
    expect(() => parseGrubConf(CONF, { entry: 7 })).toThrow(/there is no entry 7/)
  })

  test.each<[string, readonly RegExp[]]>([
    ['default 3', [/^g: the file names no entry to boot; `Good` is booted$/]],
    ['default first', [/^g:1:1: default needs a number, got `first`$/]],
    ['kernel /xen.gz', [/^g:1:1: kernel stands before the first title$/]],
    ['title X', [/entry `X` does not boot Xen/]],
    ['title X\nmodule /vmlinuz', [/^g:2:1: module stands before its kernel$/, /does not boot Xen/]],
    ['title X\nkernel', [/^g:2:1: kernel needs a file$/, /does not boot Xen/]],
    ['title X\nkernal /a', [/^g:2:1: unknown command `kernal`; did you mean `kernel`\?$/, /does not boot Xen/]],
    ['title X\nkernel /a\ninitrd /b', [/does not boot Xen/]],
    ['title X\n%&', [/^g:2:1: unknown command `%&`$/, /does not boot Xen/]],
    ['title __proto__\nkernel /a\n__proto__ = 1', [/^g:3:1: unknown command `__proto__ = 1`$/, /does not boot Xen/]],
    ['title W\nrootnoverify (hd0,0)\nchainloader +1\nmakeactive\nboot', [/does not boot Xen/]],
  ])('%j in front of an entry that boots Xen costs no more than a warning', (text, expected) => {
    const { title, warnings } = parseGrubConf(`${text}\ntitle Good\nkernel /xen.gz\n`, { source: 'g' })
    expect(title).toBe('Good')
    expect(warnings).toHaveLength(expected.length)
    expected.forEach((message, i) => expect(warnings[i]?.message).toMatch(message))
    expect(() => parseGrubConf(text)).toThrow(/there is no entry that boots Xen/)
  })

  test('that is a script of GRUB 2 is refused with the name of what reads it', () => {
    const script = 'set timeout=5\nmenuentry "Xen" {\n  multiboot2 /boot/xen.gz\n  module2 /vmlinuz\n}\n'
    expect(() => parseGrubConf(script)).toThrow('grub.conf: this is a script of GRUB 2, as a grub.cfg is: parseGrubCfg reads it')
    expect(parseGrubConf(`${CONF}\nset timeout=5`).title).toBe('Xen 3.0')
  })

  test('the last of two kernels is the one that boots', () => {
    expect(parseGrubConf('title X\nkernel /a\nmodule /m\nkernel /xen-b\n')).toMatchObject({ hypervisor: { path: '/xen-b' }, dom0: undefined })
  })
})

describe("Xen's command line", () => {
  test.each<[string, object, string[]]>([
    ['', {}, []],
    [
      'dom0_mem=512M dom0_max_vcpus=2 sched=credit',
      { dom0Memory: { amount: { bytes: 2 ** 29, percent: 0 } }, dom0Vcpus: { min: 2, max: 2 }, scheduler: 'credit' },
      [],
    ],
    [
      'dom0_mem=900M,max:900M',
      { dom0Memory: { amount: { bytes: 900 * 2 ** 20, percent: 0 }, max: { bytes: 900 * 2 ** 20, percent: 0 } } },
      [],
    ],
    [
      'dom0_mem=min:64M dom0_mem=25%',
      { dom0Memory: { min: { bytes: 2 ** 26, percent: 0 }, amount: { bytes: 0, percent: 25 } } },
      [],
    ],
    ['dom0_max_vcpus=2-4', { dom0Vcpus: { min: 2, max: 4 } }, []],
    ['dom0_max_vcpus=-4', { dom0Vcpus: { min: 1, max: 4 } }, []],
    ['com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all noreboot no-watchdog dom0=pv', {}, []],
    ['dom0=pvh', {}, ['dom0 bad value']],
    ['dom0_mem=lots', {}, ['dom0_mem bad value']],
    ['dom0_max_vcpus=4-2', {}, ['dom0_max_vcpus bad value']],
    ['sched=fast', {}, ['sched bad value']],
    ['dom0_vcpus_pin', {}, ['dom0_vcpus_pin not implemented']],
    ['dom0_memory=512M', {}, ['dom0_memory unknown']],
    ['__proto__=1 constructor', {}, ['__proto__ unknown', 'constructor unknown']],
  ])('%j', (text, options, warnings) => {
    const parsed = parseXenOptions(text)
    expect(parsed.options).toEqual(options)
    expect(parsed.warnings.map(({ option, reason }) => `${option} ${reason}`)).toEqual(warnings)
  })

  test('a warning names the nearest option', () => {
    expect(parseXenOptions('dom0_men=1G').warnings[0]?.message).toBe(
      'Xen option `dom0_men` is unknown; did you mean `dom0_mem`?',
    )
  })
})

test.each<[string, number | undefined]>([
  ['262144', 2 ** 28],
  ['512M', 2 ** 29],
  ['1g', 2 ** 30],
  ['4096B', 4096],
  ['0x40k', 65536],
  ['', undefined],
  ['M', undefined],
  ['-1M', undefined],
])('a size of %j is %s bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes)
})

const GIB = 2 ** 30
test.each<[string, number]>([
  ['512M', 512], ['-128M', 896], ['25%', 256], ['128M+25%', 384], ['100%', 1024], ['-128M+25%', 640],
  ['min:256M', 256], ['max:64M', 64], ['700M,max:512M', 512], ['100M,min:50%', 512], ['min:600M,max:500M', 500],
])('dom0_mem=%s of 1 GiB is %d MiB', (text, mebibytes) => {
  expect(dom0Mebibytes(parseDom0Memory(text)!, GIB, 128 * 2 ** 20)).toBe(mebibytes)
})

test.each(['', '1M+2M+3M', '200%', 'min:', '-50%', '10%+5%', ',1M'])('dom0_mem=%j is no amount', (text) => {
  expect(parseDom0Memory(text)).toBeUndefined()
})
