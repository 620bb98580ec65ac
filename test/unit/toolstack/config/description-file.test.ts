import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/util/index.ts'
import { parseDescription } from '../../../../src/toolstack/config/description-file.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { OPTION_NAMES } from '../../../../src/toolstack/config/file-schema.ts'

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
    ['vcpus = 1\nmaxvcpus = 4', { vcpus: 1, maxVcpus: 4 }],
    ['builder = "generic"\nramdisk = ""', { type: 'pv', ramdisk: undefined }],
    ['on_crash = "coredump_restart"', { actions: { crash: 'coredump-restart' } }],
    ['uuid = "244AA2C4-2b43-4d58-9025-8100a436be34"', { uuid: '244aa2c4-2b43-4d58-9025-8100a436be34' }],
  ])('%j', (text, expected) => {
    expect(parseDescription(`name = "x"\n${text}`).config).toMatchObject(expected)
  })

  test('warns by name of each option that has no effect, and where it stands', () => {
    const { warnings } = parseDescription('name = "x"\ncpu_weight = 512\nvnc = 1\nsve = "hw"', { source: 'f' })
    expect(warnings.map(({ option, reason, position }) => [option, reason, position?.line])).toEqual([
      ['cpu_weight', 'not implemented', 2], ['vnc', 'not for PV guests', 3], ['sve', 'not for x86', 4],
    ])
    expect(warnings[0]?.message).toBe('f:2:1: cpu_weight has no effect: not implemented')
  })

  test.each<[string, number, number, RegExp]>([
    ['colour = "red"', 2, 1, /unknown option `colour`$/],
    ['memroy = 64', 2, 1, /unknown option `memroy`; did you mean `memory`\?/],
    ['memory = "lots"', 2, 10, /memory must be a whole number/],
    ['memory = [64]', 2, 10, /memory must be a whole number/],
    ['memory = 0', 2, 10, /memory must be at least 1/],
    ['memory = 9000', 2, 10, /memory must be at most 4096/],
    ['memory = -5', 2, 10, /at least 1/],
    ['vcpus=0', 2, 7, /vcpus must be at least 1/],
    ['kernel = 5', 2, 10, /kernel must be a string/],
    ['disk = "file:/x,sda1,w"', 2, 8, /disk must be a list/],
    ['disk = [ "a,raw,xvda",\n  7 ]', 3, 3, /disk must be a string/],
    ['disk = [ "/a,raw,xvda,w",\n  "/a,weird,xvdb,w" ]', 3, 3, /unknown value `weird` for format/],
    ['disk = [ "/a,raw,xvda,w", "/b,raw,xvda,w" ]', 2, 8, /two disks are called xvda/],
    ['vif = [ "mac=1" ]', 2, 9, /not a value for mac/],
    ['on_poweroff = "explode"', 2, 15, /on_poweroff must be one of destroy/],
    ['type = "pw"', 2, 8, /type must be "pv"/],
    ['type = "hvm"', 2, 8, /only PV guests/],
    ['memory = 64\nmaxmem = 32', 3, 10, /maxmem 32 is less than memory 64/],
    ['vcpus = 4\nmaxvcpus = 2', 3, 12, /maxvcpus 2 is less/],
    ['uuid = "1"', 2, 8, /not a UUID/],
    ['nfs_root = "/x"', 2, 12, /needs nfs_server/],
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
    ['dhcp = "dhcp"', { commandLine: 'ip=:1.2.3.4::::eth0:dhcp' }],
    [
      'ip = "10.0.0.2"\ngateway = "10.0.0.1"\nnetmask = "255.0.0.0"\nhostname = "vm"\n'
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
