import { describe, expect, test } from 'vitest'
import { Bridge, NetBackend, NetFrontend, completeChecksum, formatMac, parseMac } from '../../../../src/drivers/index.ts'
import type { Nic } from '../../../../src/drivers/index.ts'
import { BackendBus, FrontendBus } from '../../../../src/guest/index.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { SeededRandom, XenError, below, fillRandom } from '../../../../src/util/index.ts'
import { detach, removeDevice, seedNic } from '../../../support/devices.ts'
import { type FakeDomain, FakeHypervisor, TestStore, during } from '../../../../src/testing/index.ts'

const mac = (number: number): string => `00:16:3e:00:00:0${number}`
const BROADCAST = 'ff:ff:ff:ff:ff:ff'

/** A frame with a type of no protocol and a given payload. */
function frame(to: string, from: string, payload: Uint8Array | string): Uint8Array {
  const body = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload
  const bytes = new Uint8Array(14 + body.length)
  bytes.set(parseMac(to)!)
  bytes.set(parseMac(from)!, 6)
  bytes.set([0x88, 0xb5], 12)
  bytes.set(body, 14)
  return bytes
}

const payload = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(14))

interface Setup {
  readonly hub: FakeHypervisor
  readonly store: TestStore
  readonly bridge: Bridge
  readonly backend: NetBackend
  readonly back: FakeDomain
  readonly guests: readonly FakeDomain[]
  readonly nics: readonly Nic[]
  readonly heard: readonly Uint8Array[][]
}

async function setUp(count: number): Promise<Setup> {
  const hub = new FakeHypervisor(8192)
  const store = new TestStore()
  let bridge: Bridge | undefined
  const backend = new NetBackend({ bridge: (name) => (name === 'xenbr0' ? bridge : undefined) })
  const back = hub.createDomain(0, async (kernel) => {
    bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
    await new BackendBus(kernel).register(backend)
  }, { store: store.connect(0, 'back'), pages: 256 })
  const frontends = Array.from({ length: count }, () => new NetFrontend())
  const guests = frontends.map((frontend, index) => hub.createDomain(index + 1, (kernel) => new FrontendBus(kernel).register(frontend), {
    store: store.connect(index + 1, `front${index + 1}`), pages: 1024,
  }))
  await hub.settle()
  guests.forEach((_, index) => seedNic(store, index + 1, mac(index + 1)))
  await hub.settle()
  const nics = frontends.map((frontend) => frontend.nics[0]!)
  const heard = nics.map((nic) => {
    const frames: Uint8Array[] = []
    nic.onFrame((bytes) => frames.push(bytes.slice()))
    return frames
  })
  return { hub, store, bridge: bridge!, backend, back, guests, nics, heard }
}

describe('the handshake of a network interface', () => {
  test('writes in the order of the captures, with the same transactions', async () => {
    const { store } = await setUp(1)
    const lines = (who: string): string[] => store.transcript
      .filter((line) => line.startsWith(`${who} WRITE`) || line.startsWith(`${who} TX_`)).map((line) => line.slice(who.length + 1))
    // golden: xenbus-handshake-vif.txt, parts A and B; what is not offered here (XDP, a control ring) is left out, and there are four queues, not one.
    const own = 'backend/vif/1/0'
    const back = lines('back')
    expect(back.slice(back.findIndex((line) => line.includes(own)) - 1)).toEqual([
      'TX_START', `WRITE ${own}/feature-sg = "1"`, `WRITE ${own}/feature-gso-tcpv4 = "1"`, `WRITE ${own}/feature-gso-tcpv6 = "1"`,
      `WRITE ${own}/feature-ipv6-csum-offload = "1"`, `WRITE ${own}/feature-rx-copy = "1"`, `WRITE ${own}/feature-rx-flip = "0"`,
      `WRITE ${own}/feature-multicast-control = "1"`, `WRITE ${own}/feature-dynamic-multicast-control = "1"`, 'TX_END commit',
      `WRITE ${own}/feature-split-event-channels = "1"`, `WRITE ${own}/multi-queue-max-queues = "4"`,
      'TX_START', `WRITE ${own}/state = "2"`, 'TX_END commit',
      'WRITE /local/domain/1/device/vif/0/mtu = "1500"', `WRITE ${own}/hotplug-status = "connected"`,
      'TX_START', `WRITE ${own}/state = "4"`, 'TX_END commit',
    ])
    const front = lines('front1')
    const digits = (name: string): unknown => expect.stringMatching(new RegExp(`^WRITE device/vif/0/${name} = "\\d+"$`))
    expect(front.slice(front.findIndex((line) => line.includes('multi-queue')) - 1)).toEqual([
      'TX_START', 'WRITE device/vif/0/multi-queue-num-queues = "1"', digits('tx-ring-ref'), digits('rx-ring-ref'),
      digits('event-channel-tx'), digits('event-channel-rx'), 'WRITE device/vif/0/request-rx-copy = "1"',
      'WRITE device/vif/0/feature-rx-notify = "1"', 'WRITE device/vif/0/feature-sg = "1"',
      'WRITE device/vif/0/feature-ipv6-csum-offload = "1"', 'TX_END commit',
      'TX_START', 'WRITE device/vif/0/state = "4"', 'TX_END commit',
    ])
  })

  test('hot detach closes in the steps of the captures and leaves nothing behind', async () => {
    const { hub, store, bridge, back, guests, nics, backend } = await setUp(1)
    nics[0]!.send(frame(BROADCAST, mac(1), 'before'))
    await hub.settle()
    store.transcript.length = 0
    detach(store, 'vif', 1, '0')
    await hub.settle()
    const states = store.transcript.filter((line) => / WRITE .*state/.test(line)).map((line) => line.replace(/ WRITE .*= /, ' '))
    expect(states).toEqual(['front1 "6"', 'back "5"', 'back "6"'])
    removeDevice(store, 'vif', 1, '0')
    await hub.settle(1e9)
    expect([hub.mappings, back.kernel.grants.mappings, guests[0]!.kernel.grants.granted, backend.nics.length, bridge.addresses])
      .toEqual([0, 0, 0, 0, 0])
    expect(guests[0]!.kernel.frames.free).toBe(1024)
    expect(() => nics[0]!.send(frame(BROADCAST, mac(1), 'after'))).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  test('a bridge that does not exist is reported as a hotplug script does', async () => {
    const { hub, store } = await setUp(1)
    seedNic(store, 2, mac(2))
    store.seed({ '/local/domain/0/backend/vif/2/0/bridge': 'nowhere' })
    await hub.settle()
    expect(store.get('/local/domain/0/backend/vif/2/0/hotplug-status')).toBe('error')
    expect(store.get('/local/domain/0/backend/vif/2/0/hotplug-error')).toBe('no bridge nowhere')
  })

  test.each([
    ['request-rx-copy', '0'], ['tx-ring-ref', '77777'], ['rx-ring-ref', ''], ['event-channel-tx', '4001'],
    ['event-channel-rx', 'one'], ['multi-queue-num-queues', '8'],
  ])('a front-end that publishes %s = %j is told why, and gets nothing', async (name, value) => {
    const { hub, store, back, bridge } = await setUp(0)
    const front = hub.createDomain(1, () => undefined)
    await hub.settle()
    const { kernel } = front
    const share = (): string => String(kernel.grants.grant(0 as DomId, kernel.frames.allocate().frame))
    const open = (): string => String(kernel.events.allocateUnbound(1 as DomId, 0 as DomId))
    const ports = back.channels.size
    seedNic(store, 1, mac(1))
    const nodes: Record<string, string> = {
      'tx-ring-ref': share(), 'rx-ring-ref': share(), 'event-channel-tx': open(), 'event-channel-rx': open(),
      'request-rx-copy': '1', [name]: value, state: '4',
    }
    store.seed(Object.fromEntries(Object.entries(nodes).map(([key, text]) => [`/local/domain/1/device/vif/0/${key}`, text])))
    await hub.settle()
    expect(store.get('/local/domain/0/error/backend/vif/1/0/error')).toBeTruthy()
    expect(store.get('/local/domain/0/backend/vif/1/0/state')).toBe('5')
    expect([hub.mappings, back.channels.size, bridge.addresses]).toEqual([0, ports, 0])
  })
})

describe('guests on a bridge', () => {
  test('reach each other, and only the one they mean once the bridge has learned where it is', async () => {
    const { hub, nics, heard, bridge } = await setUp(3)
    nics[0]!.send(frame(BROADCAST, mac(1), 'who is there?'))
    await hub.settle()
    expect(heard.map((frames) => frames.map(payload))).toEqual([[], ['who is there?'], ['who is there?']])
    nics[1]!.send(frame(mac(1), mac(2), 'me'))
    await hub.settle()
    expect(heard.map((frames) => frames.length)).toEqual([1, 1, 1])
    nics[0]!.send(frame(mac(2), mac(1), 'good'))
    nics[0]!.send(frame(mac(3), mac(1), 'flooded'))
    await hub.settle()
    expect(heard.map((frames) => frames.map(payload).at(-1))).toEqual(['me', 'flooded', 'flooded'])
    expect(heard[1]!.map(payload)).toContain('good')
    expect(heard[2]!.map(payload)).not.toContain('good')
    expect(bridge.addresses).toBe(2)
  })

  test('carry ten thousand frames of random lengths, in order and intact', async () => {
    const { hub, nics, heard, backend } = await setUp(2)
    const random = new SeededRandom(3)
    const sent: Uint8Array[] = []
    for (let i = 0; i < 10_000; i += 1) {
      const body = new Uint8Array(4 + below(random, 1497))
      fillRandom(random, body)
      new DataView(body.buffer).setUint32(0, i)
      sent.push(frame(mac(2), mac(1), body))
    }
    for (let next = 0; next < sent.length;) {
      next += nics[0]!.sendAll(sent.slice(next, next + 200))
      await hub.settle()
    }
    expect(heard[1]!.length).toBe(10_000)
    expect(Buffer.compare(Buffer.concat(heard[1]!), Buffer.concat(sent))).toBe(0)
    const { statistics } = backend.nic(2 as DomId, 0)!
    expect([statistics.framesOut, statistics.dropped]).toEqual([10_000, 0])
  })

  test('take frames from user code and give it theirs', async () => {
    const { hub, nics, heard, bridge } = await setUp(1)
    const port = bridge.open()
    const received: string[] = []
    const reading = (async () => { for await (const bytes of port) received.push(payload(bytes)) })()
    port.send(frame(BROADCAST, mac(9), 'hello guest'))
    await hub.settle()
    nics[0]!.send(frame(mac(9), mac(1), 'hello host'))
    await hub.settle()
    port.close()
    await during(hub, reading)
    expect(heard[0]!.map(payload)).toEqual(['hello guest'])
    expect(received).toEqual(['hello host'])
    expect(() => port.send(frame(BROADCAST, mac(9), 'x'))).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  test('a guest that does not read loses frames, not the bridge its memory', async () => {
    const { hub, backend, bridge } = await setUp(1)
    const port = bridge.open()
    for (let i = 0; i < 2000; i += 1) port.send(frame(mac(1), mac(9), `${i}`))
    hub.domains.get(1)!.runnable = false
    hub.domains.get(1)!.shutdownReason = 3
    await hub.settle()
    const { statistics } = backend.nic(1 as DomId, 0)!
    expect(statistics.dropped).toBe(2000 - 256 - 512)
  })

  test('the end of a guest\'s domain takes its interface off the bridge', async () => {
    const { hub, store, bridge, backend, back, nics } = await setUp(2)
    nics[0]!.send(frame(BROADCAST, mac(1), 'x'))
    await hub.settle()
    hub.destroy(1)
    store.drop('/local/domain/1')
    await hub.settle()
    expect([backend.nics.length, bridge.addresses, back.kernel.grants.mappings]).toEqual([1, 0, 2])
  })

  test('an interface ends the loop over its frames when it goes', async () => {
    const { hub, store } = await setUp(1)
    const frontend = new NetFrontend()
    const ended: string[] = []
    hub.createDomain(2, async (kernel) => {
      await new FrontendBus(kernel).register(frontend)
      const nic = await frontend.nic(0)
      for await (const bytes of nic) ended.push(payload(bytes))
      ended.push('end')
    }, { store: store.connect(2), pages: 1024 })
    seedNic(store, 2, mac(2))
    await hub.settle()
    detach(store, 'vif', 2, '0')
    await hub.settle()
    expect(ended).toEqual(['end'])
  })
})

describe('frames', () => {
  // A UDP datagram over IPv4 from 10.0.0.1:4660 to 10.0.0.2:22136 with payload "abc", checksum computed by hand:
  // pseudo-header 0a00+0001+0a00+0002+0011+000b = 141f; header and data 1234+5678+000b+6162+6300 = 1 2d19, folded with it 4139.
  const udp = (checksum: readonly [number, number]): Uint8Array => Uint8Array.from([
    ...parseMac(mac(2))!, ...parseMac(mac(1))!, 0x08, 0x00,
    0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    0x12, 0x34, 0x56, 0x78, 0, 11, ...checksum, 0x61, 0x62, 0x63,
  ])

  test('a blank checksum is completed from the pseudo-header\'s sum', () => {
    const bytes = udp([0x14, 0x1f])
    expect(completeChecksum(bytes)).toBe(true)
    expect([bytes[40], bytes[41]]).toEqual([0xbe, 0xc6])
    expect(completeChecksum(frame(mac(1), mac(2), 'no transport'))).toBe(false)
    expect(completeChecksum(udp([0, 0]).subarray(0, 38))).toBe(false)
  })

  test('padding behind a packet does not count, whatever it is', () => {
    const bytes = Uint8Array.from([...udp([0x14, 0x1f]), 1, 2, 3, 4, 5])
    expect(completeChecksum(bytes)).toBe(true)
    expect([...bytes.subarray(40)]).toEqual([0xbe, 0xc6, 0x61, 0x62, 0x63, 1, 2, 3, 4, 5])
  })

  test('a blank checksum crosses to a guest that takes it, and is whole for user code and other guests', async () => {
    const { hub, nics, heard, bridge } = await setUp(2)
    const port = bridge.open({ onFrame: (bytes) => outside.push(bytes) })
    const outside: Uint8Array[] = []
    nics[0]!.send(udp([0x14, 0x1f]), { checksumBlank: true })
    await hub.settle()
    port.close()
    for (const bytes of [heard[1]![0]!, outside[0]!]) expect([bytes[40], bytes[41]]).toEqual([0xbe, 0xc6])
  })

  test.each([['00:16:3e:00:00:01', true], ['00:16:3E:aB:00:01', true], ['00:16:3e:00:00', false], ['00:16:3e:00:00:0g', false], ['', false]])(
    'address %j is valid: %s', (text, valid) => {
      const bytes = parseMac(text)
      expect(bytes !== undefined).toBe(valid)
      if (bytes !== undefined) expect(formatMac(bytes)).toBe(text.toLowerCase())
    },
  )

  test('a frame longer than 65,535 bytes is refused by the program\'s side', async () => {
    const { nics } = await setUp(1)
    let thrown: unknown
    try {
      nics[0]!.send(new Uint8Array(65_536))
    } catch (error) {
      thrown = error
    }
    expect(XenError.is(thrown, 'INVALID_ARGUMENT')).toBe(true)
  })
})

describe('a bridge by itself', () => {
  const at = (time: { now: number }): Bridge => new Bridge({ now: () => time.now })

  test('forgets an address after five minutes, and the oldest when its table is full', () => {
    const time = { now: 0 }
    const bridge = at(time)
    const seen: string[] = []
    const ports = ['a', 'b', 'c'].map((name) => bridge.open({ onFrame: () => seen.push(name) }))
    ports[0]!.send(frame(BROADCAST, mac(1), ''))
    seen.length = 0
    ports[1]!.send(frame(mac(1), mac(2), ''))
    expect(seen.splice(0)).toEqual(['a'])
    time.now = 301e9
    ports[1]!.send(frame(mac(1), mac(2), ''))
    expect(seen.splice(0)).toEqual(['a', 'c'])
    for (let i = 0; i < 5000; i += 1) {
      const bytes = frame(BROADCAST, mac(3), '')
      new DataView(bytes.buffer).setUint32(8, i)
      ports[2]!.send(bytes)
    }
    expect(bridge.addresses).toBe(4096)
  })

  test('follows an address that moves to another port, and never sends a frame back', () => {
    const bridge = at({ now: 0 })
    const seen: string[] = []
    const ports = ['a', 'b', 'c'].map((name) => bridge.open({ onFrame: () => seen.push(name) }))
    ports[0]!.send(frame(BROADCAST, mac(1), ''))
    ports[1]!.send(frame(BROADCAST, mac(1), ''))
    seen.length = 0
    ports[2]!.send(frame(mac(1), mac(3), ''))
    ports[1]!.send(frame(mac(1), mac(2), ''))
    expect(seen).toEqual(['b'])
  })

  test('carries nothing shorter than a header, and nothing from a port that has been closed', () => {
    const bridge = at({ now: 0 })
    let heard = 0
    bridge.open({ onFrame: () => { heard += 1 } })
    const port = bridge.open()
    port.send(new Uint8Array(13))
    expect(heard).toBe(0)
    port.send(new Uint8Array(14).fill(0xff))
    expect(heard).toBe(1)
  })

  test('counts what a slow reader loses', async () => {
    const bridge = at({ now: 0 })
    const slow = bridge.open({ limit: 3 })
    const port = bridge.open()
    for (let i = 0; i < 10; i += 1) port.send(frame(BROADCAST, mac(1), String(i)))
    slow.close()
    const read: string[] = []
    for await (const bytes of slow) read.push(payload(bytes))
    expect([slow.lost, read]).toEqual([7, ['7', '8', '9']])
  })
})
