import { describe, expect, test } from 'vitest'
import { parseDisk, type DiskConfig } from '../../../../src/toolstack/device-kinds/disk/disk-specification.ts'
import { parseNic } from '../../../../src/toolstack/device-kinds/nic/nic-specification.ts'
import { nearestWord } from '../../../../src/util/index.ts'
import { parseVirtualDevice } from '../../../../src/drivers/index.ts'

describe('a virtual device number', () => {
  // Worked out by hand from the bit layouts of xen-vbd-interface(7); 51712 also stands in a capture of real Xen.
  test.each<[string, number]>([
    ['xvda', 51712], ['xvda1', 51713], ['xvdb', 51728], ['xvdp15', 51967],
    ['xvdq', 268439552], ['xvda16', 268435472], ['xvdaa', (1 << 28) | (26 << 8)],
    ['hda', 768], ['hdb1', 833], ['hdc', 5632], ['hdd3', 5699], ['sda', 2048], ['sda1', 2049], ['sdb', 2064],
    ['d0', 51712], ['d1p2', 51730], ['d16p0', 268439552], ['51712', 51712], ['0xca00', 51712],
  ])('of %s is %d', (name, number) => {
    expect(parseVirtualDevice(name)).toEqual({ name, number })
  })

  test.each([
    '',
    'xvd',
    'xvda01',
    'hde',
    'hda64',
    'sdq',
    'sda16',
    'xvda256',
    'vda',
    'XVDA',
    'd',
    'xvdzzzzzz',
    '/dev/xvda',
    '0',
  ])('does not exist for %j', (name) => {
    expect(() => parseVirtualDevice(name)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })
})

const disk = (over: Partial<DiskConfig> & { name: string; number: number }): DiskConfig => {
  const { name, number, ...rest } = over
  return {
    format: 'raw', access: 'w', type: 'disk', backend: '0', directIoSafe: false, discard: true, trusted: true, ...rest,
    vdev: { name, number },
  }
}
const xvda = { name: 'xvda', number: 51712 }

describe('a disk specification', () => {
  test.each<[string, DiskConfig]>([
    ['/g/disk.img,raw,xvda,w', disk({ ...xvda, target: '/g/disk.img' })],
    ['/g/disk.img,,xvda', disk({ ...xvda, target: '/g/disk.img' })],
    [
      'format=qcow2, vdev=xvda, access=ro, target=/a,b=c.img',
      disk({ ...xvda, target: '/a,b=c.img', format: 'qcow2', access: 'r' }),
    ],
    ['/cd.iso,,hdc,cdrom', disk({ name: 'hdc', number: 5632, target: '/cd.iso', type: 'cdrom', access: 'r' })],
    ['vdev=xvda,target=/x', disk({ ...xvda, target: '/x' })],
    [
      '/x,raw,xvda,w,backendtype=qdisk,no-discard,untrusted,direct-io-safe,backend=drv,script=block-x',
      disk({
        ...xvda,
        target: '/x',
        backendType: 'qdisk',
        discard: false,
        trusted: false,
        directIoSafe: true,
        backend: 'drv',
        script: 'block-x',
      }),
    ],
    ['file:/u/fc4.img,sda1,w', disk({ name: 'sda1', number: 2049, target: '/u/fc4.img' })],
    ['phy:vg0/root, hda1, r', disk({ name: 'hda1', number: 769, target: 'vg0/root', access: 'r' })],
    ['phy:sda7,hda1,w,5', disk({ name: 'hda1', number: 769, target: 'sda7', backend: '5' })],
    ['tap:qcow2:/x.q,xvda,w', disk({ ...xvda, target: '/x.q', format: 'qcow2' })],
    ['iscsi:iqn.2005:disk,xvda,w', disk({ ...xvda, target: 'iqn.2005:disk', script: 'block-iscsi' })],
    [',hdc:cdrom,r', disk({ name: 'hdc', number: 5632, type: 'cdrom', access: 'r' })],
    ['/x.iso,raw,hdc,w,cdrom', disk({ name: 'hdc', number: 5632, target: '/x.iso', type: 'cdrom', access: 'r' })],
    ['rbd:pool/image,raw,xvda,w', disk({ ...xvda, target: 'rbd:pool/image' })],
    ['vdev=xvda,target=rbd:pool/image:id=a', disk({ ...xvda, target: 'rbd:pool/image:id=a' })],
    ['phy:/dev/vg/root,ioemu:hda,w', disk({ name: 'hda', number: 768, target: '/dev/vg/root' })],
    ['format=empty,vdev=hdc,cdrom', disk({ name: 'hdc', number: 5632, type: 'cdrom', access: 'r' })],
    ['file:/x.iso,hdc:cdrom,r', disk({ name: 'hdc', number: 5632, target: '/x.iso', type: 'cdrom', access: 'r' })],
  ])('%s', (text, expected) => {
    expect(parseDisk(text)).toEqual(expected)
  })

  test.each<[string, RegExp]>([
    ['', /empty/],
    ['/g/disk.img,weird,xvda,w', /unknown value `weird` for format/],
    ['/g/disk.img,raw', /vdev\) is missing/],
    ['vdev=xvda', /target is missing/],
    ['/x,raw,xvda,q', /unknown value `q` for access/],
    ['/x,raw,xvda,w,more', /one value too many/],
    ['/x,raw,xvda,vdev=xvdb', /vdev is given twice/],
    ['/x,raw,xvda,acess=r', /unknown parameter `acess`; did you mean `access`/],
    ['zip:/x,xvda,w', /unknown prefix `zip:`/],
    ['/x,raw,zzz,w', /virtual device `zzz`/],
    ['/x,raw,xvda,w,specification=virtio', /not supported/],
    ['/x,raw,xvda,__proto__=1', /_.*has no meaning|unknown/],
  ])('%j is refused', (text, message) => {
    expect(() => parseDisk(text)).toThrow(message)
  })
})

describe('a NIC specification', () => {
  const defaults = { bridge: 'xenbr0', script: 'vif-bridge', backend: '0', trusted: true }
  test.each<[string, object]>([
    ['', defaults],
    ['mac=00:16:3E:00:00:01,bridge=br1', { ...defaults, mac: '00:16:3e:00:00:01', bridge: 'br1' }],
    [
      'mac=aa:00:00:00:00:11, bridge=xen-br0, be_mac=aa:00:00:00:00:12',
      { ...defaults, mac: 'aa:00:00:00:00:11', bridge: 'xen-br0' },
    ],
    [
      'type=vif,vifname=v0,ip=10.0.0.2,backend=net,devid=3,mtu=9000,untrusted,vlan=10p/20,model=e1000,netdev=eth1',
      {
        ...defaults,
        name: 'v0',
        ip: '10.0.0.2',
        backend: 'net',
        deviceId: 3,
        mtu: 9000,
        trusted: false,
        vlan: '10p/20',
        model: 'e1000',
        gatewayDevice: 'eth1',
      },
    ],
    ['queues=8,gso=0', { ...defaults, queues: 8, gso: false }],
    ['gso=1', { ...defaults, gso: true }],
    ['rate=10Mb/s', { ...defaults, rate: { bytesPerInterval: 62500, intervalMicroseconds: 50000 } }],
    ['mac=00:16:3e:00:00:01,mac=0-16-3E-0-0-2', { ...defaults, mac: '00:16:3e:00:00:02' }],
    ['rate=250KB/s@1s', { ...defaults, rate: { bytesPerInterval: 250000, intervalMicroseconds: 1000000 } }],
    ['accel=1,colo_compare_out=x', defaults],
    ['rate=1MB/s@20ms', { ...defaults, rate: { bytesPerInterval: 20000, intervalMicroseconds: 20000 } }],
  ])('%j', (text, expected) => {
    expect(parseNic(text)).toEqual(expected)
  })

  test.each<[string, RegExp]>([
    ['mac=00:16:3e:00:00', /not a value for mac/],
    ['mac=01:16:3e:00:00:01', /not a value for mac/],
    ['brigde=x', /unknown parameter `brigde`; did you mean `bridge=`/],
    ['bridge', /unknown parameter/],
    ['rate=fast', /not a value for rate/],
    ['rate=0b/s', /not a value for rate/],
    ['rate=10kb/s', /not a value for rate/],
    ['__proto__=1', /unknown parameter `__proto__`/],
    ['constructor=1', /unknown parameter/],
    ['mtu=70000', /not a value for mtu/],
    ['type=card', /not a value for type/],
    ['queues=0', /not a value for queues/],
    ['queues=9', /not a value for queues/],
    ['gso=no', /not a value for gso/],
  ])('%j is refused', (text, message) => {
    expect(() => parseNic(text)).toThrow(message)
  })
})

test.each<[string, string | undefined]>([
  ['memroy', 'memory'], ['MEMORY', 'memory'], ['colour', undefined], ['kernal', 'kernel'], ['x', undefined],
])('the option nearest to %s is %s', (word, nearest) => {
  expect(nearestWord(word, ['memory', 'kernel', 'name'])).toBe(nearest)
})
