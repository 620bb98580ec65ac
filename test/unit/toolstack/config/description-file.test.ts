import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/util/index.ts'
import { parseDescription } from '../../../../src/toolstack/config/description-file.ts'
import type { Era } from '../../../../src/toolstack/config/actions.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { OPTION_NAMES } from '../../../../src/toolstack/config/option-schemas.ts'

function failure(work: () => unknown): XenError {
  try {
    work()
  } catch (error) {
    if (XenError.is(error, 'INVALID_CONFIG')) return error
    throw error
  }
  throw new Error('accepted')
}

describe('xl spelling', () => {
  test('yields the configuration that real xl shows for the same file', () => {
    const { config, warnings, era } = parseDescription(`
      name = "fc4"
      type = "pv"
      kernel = "/g/vmlinuz"
      ramdisk = "/g/initrd.gz"
      extra = "console=hvc0 panic=-1 rdinit=/sbin/init"
      memory = 128
      vcpus = 2
      disk = [ "/g/disk.img,raw,xvda,w" ]
      vif = [ "mac=00:16:3e:00:00:01,bridge=xenbr0" ]`)
    expect(config).toMatchObject({
      name: 'fc4',
      type: 'pv',
      kernel: '/g/vmlinuz',
      ramdisk: '/g/initrd.gz',
      memory: 128,
      maxMemory: 128,
      vcpus: 2,
      maxVcpus: 2,
      commandLine: 'console=hvc0 panic=-1 rdinit=/sbin/init',
      actions: {
        poweroff: 'destroy',
        reboot: 'restart',
        crash: 'destroy',
        watchdog: 'destroy',
        softReset: 'soft-reset',
      },
    })
    expect(config.disks[0]?.vdev.number).toBe(51712)
    expect(config.nics[0]?.mac).toBe('00:16:3e:00:00:01')
    expect([warnings, era]).toEqual([[], 'xl'])
  })

  test.each<[string, object]>([
    ['', { memory: 32, vcpus: 1, commandLine: '', kernel: undefined, ramdisk: undefined, disks: [], nics: [] }],
    ['root = "/dev/xvda1 ro"\nextra = "quiet"', { commandLine: 'root=/dev/xvda1 ro quiet' }],
    ['root = "/dev/xvda1"\ncmdline = "just this"', { commandLine: 'just this' }],
    ['memory = "64"\nmaxmem = 0x80', { memory: 64, maxMemory: 128 }],
    ['memory = "0100"\nmaxmem = " +0x80"', { memory: 64, maxMemory: 128 }],
    ['extra = 4\nkernel = 089', { commandLine: '4', kernel: '089' }],
    ['extra = "say=\\"hi\\""', { commandLine: 'say="hi"' }],
    ['bootloader = "pygrub"\nbootloader_args = ["--entry=1"]', { bootloader: 'pygrub', bootloaderArgs: ['--entry=1'] }],
    ['bootloader = "pygrub"\nbootloader_args = "-q --entry=1"', { bootloaderArgs: ['-q', '--entry=1'] }],
    ['bootloader = ""', { bootloader: undefined, bootloaderArgs: [] }],
    ['firmware = "pvgrub64"', { kernel: 'pvgrub64' }],
    ['vif = ["", "rate=1MB/s@20ms"]', { nics: [{ bridge: 'xenbr0' }, { rate: { bytesPerInterval: 20000 } }] }],
    ['vcpus = 1\nmaxvcpus = 4', { vcpus: 1, maxVcpus: 4 }],
    ['builder = "generic"\nramdisk = ""', { type: 'pv', ramdisk: undefined }],
    ['on_crash = "coredump_restart"', { actions: { crash: 'coredump-restart' } }],
    ['uuid = "244AA2C4-2b43-4d58-9025-8100a436be34"', { uuid: '244aa2c4-2b43-4d58-9025-8100a436be34' }],
  ])('%j', (text, expected) => {
    expect(parseDescription(`name = "x"\n${text}`).config).toMatchObject(expected)
  })

  test('warns by name of each option that has no effect, and where it stands', () => {
    const { warnings } = parseDescription('name = "x"\ne820_host = 1\nvnc = 1\nsve = "hw"', { source: 'f' })
    expect(warnings.map(({ option, reason, position }) => [option, reason, position?.line])).toEqual([
      ['e820_host', 'not implemented', 2], ['vnc', 'not for PV guests', 3], ['sve', 'not for x86', 4],
    ])
    expect(warnings[0]?.message).toBe('f:2:1: e820_host has no effect: not implemented')
  })

  test('says of a PVH guest\'s options what is true of PVH guests', () => {
    const reasons = (type: string): unknown => {
      const text = `name = "x"\ntype = "${type}"\nvnc = 1\nhap = 1\ntimer_mode = 2\nboot = "c"\ne820_host = 1\nioports = ["1"]`
      return Object.fromEntries(parseDescription(text).warnings.map(({ option, reason }) => [option, reason]))
    }
    const none = 'not implemented'
    const [notPv, notPvh] = ['not for PV guests', 'not for PVH guests']
    expect(reasons('pv')).toEqual({ vnc: notPv, hap: notPv, timer_mode: notPv, boot: notPv, e820_host: none, ioports: none })
    expect(reasons('pvh')).toEqual({ vnc: notPvh, hap: none, timer_mode: none, boot: notPvh, e820_host: notPvh, ioports: none })
  })

  test('passes over unknown options with a warning that names the nearest one, and refuses them when it is strict', () => {
    const text = 'name = "x"\nmemroy = 64\ncolour = "red"'
    const { config, warnings } = parseDescription(text, { source: 'f' })
    expect(config.memory).toBe(32)
    expect(warnings).toEqual([
      { option: 'memroy', reason: 'unknown', position: { source: 'f', line: 2, column: 1 }, message: 'f:2:1: unknown option `memroy`; did you mean `memory`?' },
      { option: 'colour', reason: 'unknown', position: { source: 'f', line: 3, column: 1 }, message: 'f:3:1: unknown option `colour`' },
    ])
    const error = failure(() => parseDescription(text, { source: 'f', strict: true }))
    expect(error.message).toBe('f:2:1: unknown option `memroy`; did you mean `memory`?')
    expect(error.details).toMatchObject({ key: 'memroy', nearest: 'memory', line: 2, column: 1 })
  })

  test.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'prototype'])('takes %s for a word like any other', (key) => {
      for (const value of ['1', '"x"', '["x"]', '[["x"]]']) {
        const { config, warnings } = parseDescription(`name = "a"\n${key} = ${value}\n${key} += ${value}`)
        expect(warnings.map(({ option, reason }) => [option, reason])).toEqual([[key, 'unknown']])
        expect([Object.getPrototypeOf(config), config.memory]).toEqual([Object.prototype, 32])
        expect(failure(() => parseDescription(`name = "a"\n${key} = ${value}`, { strict: true })).message).toMatch(`unknown option \`${key}\``)
      }
      expect(({} as Record<string, unknown>)['x']).toBeUndefined()
    })

  test('does not search for ever for what the author of a hostile file may have meant', () => {
    const many = Array.from({ length: 40_000 }, (_, i) => `max_event_channel${i}=1`).join('\n')
    const { warnings } = parseDescription(`name = "x"\n${many}`)
    expect(warnings).toHaveLength(40_000)
    expect(warnings.filter(({ message }) => message.includes('did you mean'))).toHaveLength(50)
    for (const option of ['disk', 'vif']) {
      expect(failure(() => parseDescription(`name = "x"\n${option} = [ "${' a,'.repeat(50_000)}" ]`)).message).toMatch(/more than 8192 characters/)
    }
  })

  test('the last of several assignments counts, as with xl, and the author is told; a strict reader refuses them', () => {
    const text = 'name = "x"\ndisk = ["/a,raw,xvda"]\ndisk = ["/b,raw,xvdb"]'
    const { config, warnings } = parseDescription(text, { source: 'f' })
    expect(config.disks.map(({ target }) => target)).toEqual(['/b'])
    expect(warnings.map(({ reason, message }) => [reason, message])).toEqual([
      ['assigned twice', 'f:3:1: disk is assigned again: what line 2 says does not count'],
    ])
    expect(failure(() => parseDescription(text, { strict: true })).details).toMatchObject({ key: 'disk', line: 3 })
  })

  test('an empty text where a list belongs is an empty list, with a warning', () => {
    const { config, warnings } = parseDescription('name = "x"\nvif = ""\ndisk = \'\'')
    expect([config.nics, config.disks]).toEqual([[], []])
    expect(warnings.map(({ option, reason }) => [option, reason])).toEqual([['vif', 'no list'], ['disk', 'no list']])
  })

  test('passes over parameters of an interface that xl passes over', () => {
    const text = 'name = "x"\nvif = [ "brigde=br1,mac=00:16:3e:00:00:01", "accel=1,bridge=br2" ]'
    const { config, warnings } = parseDescription(text, { source: 'f' })
    expect(config.nics.map(({ bridge }) => bridge)).toEqual(['xenbr0', 'br2'])
    expect(warnings.map(({ message }) => message)).toEqual([
      'f:2:9: vif `brigde=br1,mac=00:16:3e:00:00:01`: unknown parameter `brigde`; did you mean `bridge=`?',
      'f:2:45: vif `accel=1,bridge=br2`: accel means nothing here',
    ])
    expect(() => parseDescription(text, { strict: true })).toThrow(/brigde/)
  })

  test.each(['dhcp = "dhcp"', 'ip = "10.0.0.2"', 'hostname = "vm"', 'nfs_root = "/x"'])(
    'leaves a file for xl where a word of xm stands in it that files for xl carry too: %s', (line) => {
      const { config, era, warnings } = parseDescription(`name = "x"\nextra = "quiet"\n${line}`)
      expect([era, config.commandLine, config.actions.crash]).toEqual(['xl', 'quiet', 'destroy'])
      expect(warnings.map(({ reason }) => reason)).toEqual(['only for xm'])
    },
  )

  test.each<[string, Era]>([
    ['nics = 1', 'xm'], ['restart = "never"', 'xm'], ['n = 1\nextra = "%d" % n', 'xm'], ['dhcp = "dhcp"\nrestart = "never"', 'xm'], ['display = ":0"', 'xl'], ['memory = 1', 'xl'],
  ])('%j is a file for %s', (text, era) => {
    expect(parseDescription(`name = "x"\n${text}`).era).toBe(era)
  })

  test.each<[string, number, number, RegExp]>([
    ['memory = "lots"', 2, 10, /memory must be a whole number/],
    ['memory = [64]', 2, 10, /memory must be a whole number/],
    ['memory = 0', 2, 10, /memory must be at least 1/],
    ['memory = 9000', 2, 10, /memory must be at most 4096/],
    ['memory = -5', 2, 10, /at least 1/],
    ['vcpus=0', 2, 7, /vcpus must be at least 1/],
    ['kernel = [5]', 2, 10, /kernel must be a string/],
    ['memory = 089', 2, 10, /whole number/],
    ['memory = "0x"', 2, 10, /whole number/],
    ['memory = 99999999999999999999', 2, 10, /whole number/],
    ['memory += 64', 2, 11, /does not add numbers/],
    ['vcpus = 1\nvcpus += 1', 2, 9, /does not add numbers/],
    ['disk = "file:/x,sda1,w"', 2, 8, /disk must be a list/],
    ['disk = [ "a,raw,xvda",\n  [] ]', 3, 3, /disk must be a string/],
    ['disk = [ "/a,raw,xvda,w",\n  "/a,weird,xvdb,w" ]', 3, 3, /unknown value `weird` for format/],
    ['disk = [ "/a,raw,xvda,w", "/b,raw,xvda,w" ]', 2, 8, /two disks are called xvda/],
    ['vif = [ "mac=1" ]', 2, 9, /not a value for mac/],
    ['on_poweroff = "explode"', 2, 15, /on_poweroff must be one of destroy/],
    ['type = "pw"', 2, 8, /type must be "pv"/],
    ['type = "hvm"', 2, 8, /type must be "pv" or "pvh": a guest of type "hvm" needs a device model.* start as "pvh"/],
    ['builder = "hvm"', 2, 11, /builder "hvm" is not supported: .* type="pvh"/],
    ['type = "pvh"\nfirmware = "pvgrub64"', 3, 12, /firmware is not for PVH guests: GRUB starts as kernel="grub-i386-xen_pvh.bin"/],
    ['type = "pvh"\npvshim = 1', 3, 10, /pvshim is not supported: a PV kernel starts with type="pv"/],
    ['memory = 64\nmaxmem = 32', 3, 10, /maxmem 32 is less than memory 64/],
    ['vcpus = 4\nmaxvcpus = 2', 3, 12, /maxvcpus 2 is less/],
    ['uuid = "1"', 2, 8, /not a UUID/],
    ['nics = 1\nnfs_root = "/x"', 3, 12, /needs nfs_server/],
    ['firmware = "uefi"', 2, 12, /must be "pvgrub32" or "pvgrub64"/],
    ['firmware = "pvgrub64"\nkernel = "/x"', 2, 12, /both kernel and firmware/],
  ])('%j is refused at its place', (text, line, column, message) => {
    const error = failure(() => parseDescription(`name = "x"\n${text}`, { source: 'f' }))
    expect([error.details['line'], error.details['column']]).toEqual([line, column])
    expect(error.message).toMatch(message)
  })

  test('needs a name, and one that a path can hold', () => {
    expect(failure(() => parseDescription('memory = 1')).message).toBe('config:1:1: a domain needs a name')
    expect(failure(() => parseDescription('memory = 1\nname = "a/b"')).details).toMatchObject({
      line: 2,
      column: 8,
      key: 'name',
    })
  })

  test('a restart of an unrelated spelling keeps its wording apart: every option has one meaning', () => {
    expect(new Set(OPTION_NAMES).size).toBe(OPTION_NAMES.length)
  })
})

test('a description of more than a mebibyte is refused before it is read', () => {
  expect(() => parseDescription(`name = "x"\n${'#'.repeat(1 << 20)}`)).toThrow(expect.objectContaining({
    code: 'INVALID_CONFIG', details: expect.objectContaining({ limit: 1 << 20 }) as object,
  }))
})

describe('xm spelling of 2005', () => {
  test('is read with the habits of its time', () => {
    const { config, era, warnings } = parseDescription(`
      kernel = "/boot/vmlinuz-2.6.11-xenU"
      memory = 64
      name = "fc4"
      nics = 1
      disk = ['file:/u/fc4.img,sda1,w']
      root = "/dev/sda1 ro"
      extra = "4"`)
    expect(era).toBe('xm')
    expect(config.commandLine).toBe('root=/dev/sda1 ro 4')
    expect(config.disks[0]).toMatchObject({ target: '/u/fc4.img', access: 'w', vdev: { name: 'sda1', number: 2049 } })
    expect(config.nics).toHaveLength(1)
    expect(config.actions.crash).toBe('restart')
    expect(warnings).toEqual([])
  })

  test.each<[string, object]>([
    ['nics = 0\ndhcp = "dhcp"', { commandLine: 'ip=:1.2.3.4::::eth0:dhcp' }],
    [
      'nics = 0\nip = "10.0.0.2"\ngateway = "10.0.0.1"\nnetmask = "255.0.0.0"\nhostname = "vm"\n'
        + 'root = "/dev/nfs"\nnfs_server = "10.0.0.9"\nnfs_root = "/srv"',
      { commandLine: 'ip=10.0.0.2:10.0.0.9:10.0.0.1:255.0.0.0:vm:eth0:off root=/dev/nfs nfsroot=10.0.0.9:/srv' },
    ],
    ["restart = 'always'", { actions: { poweroff: 'restart', crash: 'restart' } }],
    ["restart = 'onreboot'", { actions: { poweroff: 'destroy', reboot: 'restart', crash: 'destroy' } }],
    ["restart = 'never'\non_crash = 'preserve'", { actions: { reboot: 'destroy', crash: 'preserve' } }],
    ["nics = 3\nvif = ['bridge=a']", { nics: [{ bridge: 'a' }, { bridge: 'xenbr0' }, { bridge: 'xenbr0' }] }],
    ['nics = -1', { nics: [] }],
    ['nics = 0\nvmid = 4\nhostname = "vm%d" % vmid', { nics: [] }],
  ])('%j', (text, expected) => {
    expect(parseDescription(`name = "x"\n${text}`).config).toMatchObject(expected)
  })

  test('the caller may say which era it is', () => {
    expect(parseDescription('name = "x"', { era: 'xm' }).config.actions.crash).toBe('restart')
    expect(parseDescription('name = "x"\nnics = 0', { era: 'xl' }).config.actions.crash).toBe('destroy')
  })
})

describe('a configuration object', () => {
  test('gets defaults and parsed specifications', () => {
    const config = resolveDomainOptions({
      name: 'a',
      disks: ['/x,raw,xvda,w'],
      nics: [''],
      actions: { crash: 'preserve' },
    })
    expect(config).toMatchObject({
      name: 'a',
      memory: 32,
      maxMemory: 32,
      vcpus: 1,
      maxEventChannels: 1023,
      maxGrantFrames: 64,
      disks: [{ target: '/x', vdev: { number: 51712 } }],
      nics: [{ bridge: 'xenbr0' }],
      actions: { crash: 'preserve', reboot: 'restart' },
    })
  })

  test('keeps the kernel as it is, whatever it is', () => {
    const kernel = (): void => {}
    expect(resolveDomainOptions({ name: 'a', kernel }).kernel).toBe(kernel)
  })

  test.each<[object, object, RegExp]>([
    [{ name: 'a', memroy: 1 }, { key: 'memroy', nearest: 'memory' }, /did you mean memory/],
    [{ name: '' }, { key: 'name' }, /name must not be empty/],
    [{}, { key: 'name' }, /name must be a string/],
    [{ name: 'a', memory: 1.5 }, { key: 'memory' }, /whole number/],
    [{ name: 'a', memory: 64, maxMemory: 32 }, { key: 'maxMemory' }, /maxMemory 32 is less than memory 64/],
    [{ name: 'a', actions: { crash: 'explode' } }, { key: 'actions.crash' }, /must be one of/],
    [{ name: 'a', ramdisk: 5 }, { key: 'ramdisk' }, /path or bytes/],
    [{ name: 'a', disks: ['/x,raw,xvda', '/y,raw,xvda'] }, { key: 'disks' }, /two disks/],
  ])('%j is refused', (options, details, message) => {
    const error = failure(() => resolveDomainOptions(options as { name: string }))
    expect(error.details).toMatchObject(details)
    expect(error.message).toMatch(message)
  })
})
