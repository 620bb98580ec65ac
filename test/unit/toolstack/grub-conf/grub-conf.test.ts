import { describe, expect, test } from 'vitest'
import { parseGrubConf } from '../../../../src/toolstack/grub-conf/grub-conf.ts'
import { dom0Mebibytes, parseDom0Memory, parseSize } from '../../../../src/toolstack/grub-conf/memory-size.ts'
import { parseXenOptions } from '../../../../src/toolstack/grub-conf/xen-options.ts'

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
    expect(parseGrubConf(CONF, { entry: 0 }).hypervisor.path).toBe('/vmlinuz-2.6.11')
    expect(parseGrubConf(CONF, { entry: 'Xen 3.0' }).title).toBe('Xen 3.0')
  })

  test('joins lines that end with a backslash', () => {
    expect(parseGrubConf('title X\nkernel /xen.gz \\\n  sched=credit2').xen).toEqual({ scheduler: 'credit2' })
  })

  test.each<[string, RegExp]>([
    ['', /there is no entry 0/],
    ['default 3\ntitle X\nkernel /x', /there is no entry 3/],
    ['default first', /grub\.conf:1:1: default needs a number/],
    ['kernel /xen.gz', /grub\.conf:1:1: kernel stands before the first title/],
    ['title X', /grub\.conf:1:1: entry `X` has no kernel/],
    ['title X\nmodule /vmlinuz', /grub\.conf:2:1: module stands before its kernel/],
    ['title X\nkernel', /grub\.conf:2:1: kernel needs a file/],
    ['title X\nkernel /a\nkernel /b', /second kernel/],
    ['title X\nkernal /a', /unknown command `kernal`; did you mean `kernel`/],
    ['title X\nkernel /a\ninitrd /b', /Xen takes `module`/],
    ['title X\n%&', /unknown command `%&`/],
  ])('%j is refused', (text, message) => {
    expect(() => parseGrubConf(text)).toThrow(message)
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
