import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parseDescription } from '../../../../src/toolstack/config/description-file.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { configFromJson, configToJson } from '../../../../src/toolstack/save/config-json.ts'
import { SaveStreamReader } from '../../../../src/toolstack/stream/index.ts'
import { savedMini } from '../../../support/saved-mini.ts'

const golden = (name: string): string =>
  readFileSync(fileURLToPath(new URL(`../../../golden/${name}`, import.meta.url)), 'utf8')

describe('a configuration as JSON', () => {
  test('is byte for byte what xl save of Xen 4.17 wrote', async () => {
    const { config: json } = await new SaveStreamReader([savedMini()]).readXlHeader()
    const config = configFromJson(json)
    expect(config).toMatchObject({
      name: 'mini1',
      memory: 4,
      maxMemory: 4,
      vcpus: 1,
      kernel: '/mini.elf',
      commandLine: 'hello=world',
    })
    expect(configToJson(config, { kernel: config.kernel, ramdisk: undefined })).toBe(json)
  })

  test('is what xl list -l shows of a domain with two vCPUs, a disk and a NIC', () => {
    const list = JSON.parse(golden('xl-list-long.json')) as { config: Record<string, Record<string, unknown>> }[]
    const [{ config: expected } = { config: {} }] = list
    delete expected['c_info']!['domid']
    const config = configFromJson(JSON.stringify(expected))
    expect(config.disks).toMatchObject([{ target: '/g/disk.img', vdev: { name: 'xvda', number: 51712 }, access: 'w' }])
    expect(config.nics).toMatchObject([{ mac: '00:16:3e:00:00:01', bridge: 'xenbr0', deviceId: 0 }])
    expect(JSON.parse(configToJson(config, { kernel: config.kernel, ramdisk: '/g/initrd.gz' }))).toEqual(expected)
  })

  test('keeps everything that a description file can say', () => {
    const { config } = parseDescription(`name = 'all'
uuid = '206252ad-cf16-4e66-9ca0-ee95cc8a1bb2'
kernel = '/k'
ramdisk = '/r'
extra = 'a "b" \\\\ c'
memory = 40
maxmem = 80
vcpus = 2
maxvcpus = 4
max_event_channels = 500
max_grant_frames = 32
disk = ['/a.img,raw,xvda,w', '/b.iso,,xvdb,cdrom', 'format=raw,vdev=sda1,access=ro,backend=driver,discard,target=/c,d']
vif = ['mac=00:16:3e:01:02:03,bridge=br1,rate=1MB/s@20ms,vifname=v0,queues=2,gso=0', 'gso=1']
on_poweroff = 'preserve'
on_reboot = 'rename-restart'
on_crash = 'coredump-destroy'
on_watchdog = 'restart'
on_soft_reset = 'destroy'
`)
    const again = configFromJson(configToJson(config, { kernel: '/k', ramdisk: '/r' }))
    expect(again).toEqual({ ...config, nics: config.nics.map((nic, deviceId) => ({ ...nic, deviceId })) })
  })

  test.each([
    ['is no JSON', '{', 'INVALID_STREAM', /is not JSON/],
    ['lacks a name', '{"c_info":{"type":"pv"},"b_info":{"max_memkb":4096}}', 'INVALID_STREAM', /c_info.name/],
    [
      'is of another type',
      '{"c_info":{"type":"hvm","name":"x"},"b_info":{"max_memkb":4096}}',
      'NOT_SUPPORTED',
      /type hvm/,
    ],
    [
      'wants no memory',
      '{"c_info":{"type":"pv","name":"x"},"b_info":{"max_memkb":0}}',
      'INVALID_STREAM',
      /memory must be at least 1/,
    ],
    [
      'names no device',
      '{"c_info":{"type":"pv","name":"x"},"b_info":{"max_memkb":4096},"disks":[{"vdev":"foo"}]}',
      'INVALID_STREAM',
      /foo/,
    ],
  ])('that %s is refused', (_, json, code, message) => {
    expect(() => configFromJson(json)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    )
  })

  test('leaves out what is not said', () => {
    const config = resolveDomainOptions<string>({ name: 'small', memory: 8 })
    const json = JSON.parse(configToJson(config, { kernel: undefined, ramdisk: undefined })) as object
    expect(Object.keys(json)).toEqual(['c_info', 'b_info', 'on_reboot', 'on_soft_reset'])
  })
})
