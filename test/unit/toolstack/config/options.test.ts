/**
 * The table of options, held from outside: what is derived from it does what each row says, and docs/options.md is what
 * the table says today (`npx tsx test/unit/toolstack/config/update-options.ts` writes it anew).
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { XenError } from '../../../../src/index.ts'
import { parseDescription } from '../../../../src/toolstack/config/description-file.ts'
import { resolveDomainOptions, type DomainConfig } from '../../../../src/toolstack/config/domain-config.ts'
import { formatDescription } from '../../../../src/toolstack/config/format-description.ts'
import { ACTION_OPTIONS, FILE_OPTIONS, INEFFECTIVE_OPTIONS, OPTIONS, REFUSED_OPTIONS } from '../../../../src/toolstack/config/option-table.ts'
import { configFromJson, configToJson } from '../../../../src/toolstack/save/config-json.ts'
import { OPTIONS_FILE, optionsDocument } from './options-document.ts'

/** A value that each option of objects takes, other than its default. */
const VALUES: { readonly [K in keyof typeof OPTIONS]: unknown } = {
  name: 'web "1" \\ two', type: 'pvh', uuid: '12345678-9abc-def0-1234-56789abcdef0', kernel: '/boot/vmlinuz', ramdisk: '/boot/initrd', bootloader: 'pygrub',
  bootloaderArgs: ['--entry', 'a b'], commandLine: 'root=/dev/xvda1 x="y"\tz', memory: 96, maxMemory: 128, vcpus: 2, maxVcpus: 4,
  disks: ['format=raw,vdev=xvda,access=rw,target=/images/a,b.img', 'format=qcow2,vdev=xvdb,access=ro,cdrom,no-discard,untrusted,script=block-x,backend=driver'],
  nics: ['mac=00:16:3e:01:02:03,bridge=br1,rate=10Mb/s@20ms,mtu=9000,untrusted,queues=2,gso=0', ''],
  folders: ['tag=shared,path=/srv/shared,security_model=none', 'tag=other,path=/srv/other,security_model=none,backend=driver'],
  framebuffers: ['vnc=1,vnclisten=10.0.0.1,vncdisplay=3,vncunused=0,vncpasswd=secret,keymap=de'], keyboards: ['feature-disable-pointer=1,feature-abs-pointer=0,width=1024,height=768,unique-id=tablet,backend=driver'],
  channels: ['connection=socket,name=org.example.agent,path=/run/agent', 'connection=pty,name=other'], pool: 'fast', cpus: ['0,2-3', '1'], cpusSoft: '1-2', cpuid: ['0x1:ecx=xxx0xxxxxxxxxxxxxxxxxxxxxxxxxxxx', '0x7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxxxxx0xxxxx,edx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx1'],
  sched: 'credit', cpuWeight: 512, cap: 50, period: 20000, budget: 5000, extraTime: 0, claimMode: false, localTime: true, timeOffset: -3600, tscMode: 'always_emulate', noMigrate: true, driverDomain: true, maxMaptrackFrames: 64, maxEventChannels: 4095, maxGrantFrames: 32, maxGrantVersion: 1,
}
const names = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[]
const resolve = (given: object): DomainConfig => resolveDomainOptions({ name: 'web', ...given })

describe('an option of objects', () => {
  test.each(names)('%s is taken, and is its default when it is left out', (name) => {
    const config = resolve({ [name]: VALUES[name], ...(name === 'maxVcpus' ? {} : { maxVcpus: 8 }), maxMemory: 128 })
    expect(config[name]).not.toEqual(resolve({})[name])
    const { fallback } = OPTIONS[name]
    if (fallback !== undefined) expect(resolve({})[name]).toEqual(fallback)
  })

  test.each(names)('%s goes through a description file and back', (name) => {
    const config = resolve({ [name]: VALUES[name], ...(name === 'vcpus' ? { maxVcpus: 8 } : {}), ...(name === 'memory' ? { maxMemory: 256 } : {}) })
    const text = formatDescription(config)
    if (name !== 'name') expect(text).toMatch(new RegExp(`^${OPTIONS[name].file} = `, 'm'))
    expect(parseDescription(text, { strict: true }).config).toEqual(config)
  })

  test.each(names.filter((name) => OPTIONS[name].saved !== undefined))('%s goes through the JSON of a saved domain and back', (name) => {
    const config = resolve({ [name]: VALUES[name], maxVcpus: 8 })
    const { kernel, ramdisk } = config as DomainConfig<string> & { ramdisk: string | undefined }
    const json = configToJson(config, { kernel: kernel as string | undefined, ramdisk })
    const [first, second] = OPTIONS[name].saved!.split('.')
    const place = (JSON.parse(json) as Record<string, Record<string, unknown>>)[first!]
    expect(second === undefined ? place : place![second]).toBeDefined()
    const back = configFromJson(json)
    // Rates and MAC addresses of interfaces are chosen by libxl where they are left out.
    expect(back[name]).toEqual(name === 'nics' ? config.nics.map((nic, deviceId) => ({ deviceId, ...nic })) : config[name])
  })

  test.each(names)('%s refuses what it is not, by its name', (name) => {
    if (name === 'kernel') return
    const error = (() => {
      try { resolve({ [name]: { no: 'such thing' } }) } catch (thrown) { return thrown }
      return undefined
    })()
    expect(XenError.is(error, 'INVALID_CONFIG') && error.message.startsWith(name)).toBe(true)
  })
})

test('every action goes through a description file and back', () => {
  const config = resolve({ actions: { poweroff: 'preserve', reboot: 'rename-restart', crash: 'coredump-restart', watchdog: 'restart', softReset: 'destroy' } })
  expect(parseDescription(formatDescription(config), { strict: true }).config).toEqual(config)
  expect(Object.keys(config.actions).sort()).toEqual(Object.keys(ACTION_OPTIONS).sort())
})

test('what a file cannot say is refused by name', () => {
  const refuse = (given: object): unknown => {
    try { return formatDescription(resolve(given)) } catch (error) { return (error as XenError).message }
  }
  expect(refuse({ kernel: new Uint8Array(4) })).toBe('kernel cannot stand in a description file: it is no name of a file')
  expect(refuse({ disks: [{ vdev: 'xvda', target: 'a', script: 'x,y' }] })).toMatch(/^disks cannot stand .* script "x,y"/)
  expect(refuse({ commandLine: 'a\0b' })).toMatch(/zero byte/)
})

test('no name of a file stands in the table twice', () => {
  const files = [OPTIONS, ACTION_OPTIONS, FILE_OPTIONS].flatMap((rows) => Object.values(rows).map(({ file }) => file))
  const all = [...files, ...INEFFECTIVE_OPTIONS.map(({ file }) => file), ...Object.keys(REFUSED_OPTIONS)]
  expect(all.filter((file, at) => all.indexOf(file) !== at)).toEqual([])
})

test('docs/options.md is what the table says', () => {
  expect(readFileSync(OPTIONS_FILE, 'utf8')).toBe(optionsDocument())
})
