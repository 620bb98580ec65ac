/** A user-mode network, packet by packet: ARP, DHCP, DNS, ICMP, UDP and TCP, what is refused, what is bounded, and garbage of every layer. */
import { Resolver } from 'node:dns/promises'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { silentOutside, TCP_FLAG, type Packet, type TcpPacket, type UserNetworkOptions } from '../../../../../src/drivers/index.ts'
import { encodeAnswer, parseQuestion } from '../../../../../src/drivers/net/internet/dns-message.ts'
import { simulatedOutside } from '../../../../../src/testing/index.ts'
import { fillRandom, SeededRandom } from '../../../../../src/util/index.ts'
import { encodePacket } from '../../../../../src/drivers/index.ts'
import { DNS, GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, HEAD, NetworkWorld } from '../../../../support/network-world.ts'

const { ACK, FIN, PSH, RST, SYN } = TCP_FLAG
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (content: Uint8Array): string => new TextDecoder().decode(content)

const world = (options: Partial<UserNetworkOptions> = {}): NetworkWorld => new NetworkWorld({
  outside: simulatedOutside({
    tcp: {
      '127.0.0.1:7': async (connection) => { for await (const piece of connection) await connection.write(piece) },
      '198.51.100.7:13': (connection) => connection.write('noon'),
      '198.51.100.7:9': () => new Promise(() => undefined),
    },
    udp: { '127.0.0.1:7': (datagram) => datagram, '198.51.100.7:9': () => undefined },
    names: { 'here.example': '127.0.0.1', 'two.example': ['198.51.100.7', '198.51.100.8'] }, pings: ['198.51.100.7'],
  }), ...options,
})

/** A segment of the guest's. */
const segment = (flags: number, sequence: number, acknowledged: number, rest: Partial<TcpPacket> = {}): TcpPacket =>
  ({ ...HEAD, kind: 'tcp', fromPort: 4000, toPort: 7, flags, sequence: sequence >>> 0, acknowledged: acknowledged >>> 0, window: 0xffff, data: new Uint8Array(0), ...rest })

const tcp = (packets: readonly Packet[]): readonly TcpPacket[] => packets.filter((packet) => packet.kind === 'tcp')

describe('addresses', () => {
  test('of gateway and DNS are told, and those of nobody are not', () => {
    const one = world()
    const ask = (target: string): readonly Packet[] => {
      one.send({ kind: 'arp', destination: 'ff:ff:ff:ff:ff:ff', source: GUEST_MAC, operation: 'request', senderMac: GUEST_MAC, sender: GUEST, targetMac: '00:00:00:00:00:00', target })
      return one.take()
    }
    for (const target of [GATEWAY, DNS]) expect(ask(target)).toEqual([expect.objectContaining({ kind: 'arp', operation: 'reply', sender: target, senderMac: GATEWAY_MAC, target: GUEST })])
    for (const target of ['10.0.2.1', GUEST, '10.0.2.200', '198.51.100.7']) expect(ask(target)).toEqual([])
  })

  /** A DHCP message of a client's. */
  const dhcp = (type: number, mac = GUEST_MAC, { options = [], client = [0, 0, 0, 0] }: { options?: readonly number[]; client?: readonly number[] } = {}): Packet => {
    const data = new Uint8Array(300)
    data.set([1, 1, 6, 0, 1, 2, 3, 4])
    data.set(client, 12)
    data.set(mac.split(':').map((part) => Number.parseInt(part, 16)), 28)
    data.set([0x63, 0x82, 0x53, 0x63, 53, 1, type, ...options, 255], 236)
    return { kind: 'udp', destination: 'ff:ff:ff:ff:ff:ff', source: mac, from: '0.0.0.0', to: '255.255.255.255', fromPort: 68, toPort: 67, data }
  }
  const told = (packets: readonly Packet[]): readonly unknown[] => packets.map((packet) => packet.kind === 'udp' && [packet.data[242], [...packet.data.subarray(16, 20)].join('.')])

  test('are given by DHCP, the same again to the same guest, and back', () => {
    const one = world()
    one.send(dhcp(1))
    expect(told(one.take())).toEqual([[2, GUEST]])
    // An offer alone is nobody's.
    expect(one.network.leases).toEqual([])
    one.send(dhcp(3, GUEST_MAC, { options: [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2] }))
    expect(told(one.take())).toEqual([[5, GUEST]])
    expect(one.network.leases).toEqual([{ ip: GUEST, mac: GUEST_MAC, until: 86_400e9 }])
    const other = '00:16:3e:00:00:08'
    one.send(dhcp(1, other))
    expect(told(one.take())).toEqual([[2, '10.0.2.16']])
    // Another's address, one of nobody's, one of another server.
    one.send(dhcp(3, other, { options: [50, 4, 10, 0, 2, 15] }))
    one.send(dhcp(3, other, { options: [50, 4, 192, 0, 2, 1] }))
    one.send(dhcp(3, other, { options: [50, 4, 10, 0, 2, 16, 54, 4, 10, 0, 2, 9] }))
    expect(told(one.take())).toEqual([[6, '0.0.0.0'], [6, '0.0.0.0']])
    one.send(dhcp(7, GUEST_MAC, { client: [10, 0, 2, 15] }))
    one.send(dhcp(3, other, { options: [50, 4, 10, 0, 2, 15] }))
    expect(told(one.take())).toEqual([[5, GUEST]])
    // One that somebody else turns out to have rests.
    one.send(dhcp(4, other, { options: [50, 4, 10, 0, 2, 15] }))
    one.send(dhcp(1, GUEST_MAC, { options: [50, 4, 10, 0, 2, 15] }))
    expect(told(one.take())).toEqual([[2, '10.0.2.16']])
  })

  test('are given as long as there are any, and those whose time is over to others', () => {
    const one = world({ subnet: '192.168.7.0/28' })
    const ask = (host: number): readonly unknown[] => {
      const mac = `00:16:3e:00:01:${host.toString(16).padStart(2, '0')}`
      one.send(dhcp(3, mac, { options: [50, 4, 192, 168, 7, host] }))
      one.send(dhcp(1, `00:16:3e:00:02:${host.toString(16).padStart(2, '0')}`))
      return told(one.take())
    }
    const all = Array.from({ length: 11 }, (_, at) => ask(4 + at))
    expect(all.at(-2)).toEqual([[5, '192.168.7.13'], [2, '192.168.7.14']])
    expect(all.at(-1)).toEqual([[5, '192.168.7.14']])
    one.pass(86_401e9)
    one.send(dhcp(1, '00:16:3e:00:03:01'))
    expect(told(one.take())).toEqual([[2, '192.168.7.4']])
  })
})

describe('names', () => {
  const question = (name: string, type: number): Uint8Array =>
    Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name.split('.').flatMap((label) => [label.length, ...bytes(label)]), 0, 0, type, 0, 1])
  const ask = async (one: NetworkWorld, name: string, type = 1): Promise<{ code: number; count: number; tail: string } | undefined> => {
    one.send({ ...HEAD, kind: 'udp', to: DNS, fromPort: 5000, toPort: 53, data: question(name, type) })
    await one.turn()
    const [packet] = one.take()
    return packet?.kind === 'udp' ? { code: packet.data[3]! & 15, count: packet.data[7]!, tail: [...packet.data.subarray(-4)].join('.') } : undefined
  }

  test('are known by the network itself, or asked outside, and the machine of the outside is the gateway', async () => {
    const one = world({ names: { 'Mirror.Example': '10.0.2.2' } })
    one.introduce()
    expect(await ask(one, 'host.internal')).toEqual({ code: 0, count: 1, tail: GATEWAY })
    expect(await ask(one, 'MIRROR.example')).toEqual({ code: 0, count: 1, tail: GATEWAY })
    expect(await ask(one, 'here.example')).toEqual({ code: 0, count: 1, tail: GATEWAY })
    expect(await ask(one, 'two.example')).toEqual({ code: 0, count: 2, tail: '198.51.100.8' })
    expect(await ask(one, 'none.example')).toMatchObject({ code: 3, count: 0 })
    expect(await ask(one, '2.2.0.10.in-addr.arpa', 12)).toMatchObject({ code: 0, count: 2 })
    expect(await ask(one, '7.100.51.198.in-addr.arpa', 12)).toMatchObject({ code: 0, count: 1 })
    expect(await ask(one, '9.2.0.10.in-addr.arpa', 12)).toMatchObject({ code: 3 })
    // Of IPv6 there is nothing, and that is no error.
    expect(await ask(one, 'two.example', 28)).toMatchObject({ code: 0, count: 0 })
  })

  test('are told so that Node\'s own resolver understands', async () => {
    const server = createSocket('udp4').bind(0, '127.0.0.1')
    await once(server, 'listening')
    server.on('message', (message, { address, port }) => {
      const asked = parseQuestion(message)!
      server.send(encodeAnswer(asked, asked.name.startsWith('none') ? 3 : 0, asked.type === 12 ? ['a.example', 'b.example'] : Array.from({ length: 200 }, (_, at) => `192.0.2.${at}`)), port, address)
    })
    const resolver = new Resolver({ tries: 1, timeout: 5000 })
    resolver.setServers([`127.0.0.1:${server.address().port}`])
    // As many as have room in a message of 512 bytes.
    expect(await resolver.resolve4('many.example')).toEqual(Array.from({ length: 30 }, (_, at) => `192.0.2.${at}`))
    expect(await resolver.reverse('192.0.2.1')).toEqual(['a.example', 'b.example'])
    await expect(resolver.resolve4('none.example')).rejects.toMatchObject({ code: 'ENOTFOUND' })
    server.close()
  })

  test('are asked outside for so many at a time, and the oldest that wait are forgotten', () => {
    let asked = 0
    const one = world({ outside: { ...silentOutside(), resolve: () => { asked += 1 } } })
    one.introduce()
    for (let at = 0; at < 1000; at += 1) one.send({ ...HEAD, kind: 'udp', to: DNS, fromPort: 5000, toPort: 53, data: question(`n${at}.example`, 1) })
    expect(asked).toBe(1000)
    expect((one.network as unknown as { names: { size: number } }).names.size).toBe(64)
  })
})

describe('pings and datagrams', () => {
  test('are answered by the gateway, by whoever outside answers, and nobody else', () => {
    const one = world()
    const ping = (to: string): readonly unknown[] => {
      one.send({ ...HEAD, to, kind: 'icmp-echo', operation: 'request', id: 1, sequence: 2, data: bytes('abc') })
      return one.take().map((packet) => (packet.kind === 'icmp-echo' ? [packet.operation, packet.from, text(packet.data)] : packet.kind === 'icmp-unreachable' ? packet.code : packet.kind))
    }
    for (const to of [GATEWAY, DNS, '198.51.100.7']) expect(ping(to)).toEqual([['reply', to, 'abc']])
    expect(ping('198.51.100.8')).toEqual([13])
    for (const to of ['127.0.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255', '10.0.2.255', '10.0.2.99']) expect(ping(to)).toEqual([])
  })

  test('go out and come back, and where nobody takes them the guest is told', async () => {
    const one = world()
    const say = async (to: string, toPort: number): Promise<readonly unknown[]> => {
      one.send({ ...HEAD, to, kind: 'udp', fromPort: 5000, toPort, data: bytes('hello') })
      await one.turn()
      return one.take().map((packet) => (packet.kind === 'udp' ? [packet.from, packet.fromPort, packet.toPort, text(packet.data)] : packet.kind === 'icmp-unreachable' ? [packet.from, packet.code] : packet.kind))
    }
    expect(await say(GATEWAY, 7)).toEqual([[GATEWAY, 7, 5000, 'hello']])
    expect(await say(GATEWAY, 8)).toEqual([[GATEWAY, 3]])
    expect(await say('198.51.100.7', 9)).toEqual([])
    expect(one.network.statistics.datagramWays).toBe(2)
    one.pass(61e9)
    expect([one.network.statistics.datagramWays, one.waiting]).toEqual([0, 0])
  })

  test('of a guest that scans everything leave so many ways open', () => {
    const one = world({ connections: 16, outside: silentOutside() })
    for (let toPort = 1; toPort <= 2000; toPort += 1) one.send({ ...HEAD, kind: 'udp', fromPort: 5000, toPort, data: bytes('x') })
    expect(one.network.statistics.datagramWays).toBe(16)
  })

  test('come in by a forwarded port, and what the guest answers goes back to who asked', async () => {
    const outside = simulatedOutside()
    const one = world({ outside, forward: [{ udp: 5353, to: 53 }] })
    one.introduce()
    const answer = outside.ask(5353, bytes('who?'))
    one.settle()
    const [packet] = one.take()
    expect(packet).toMatchObject({ kind: 'udp', from: GATEWAY, to: GUEST, toPort: 53, data: bytes('who?') })
    if (packet?.kind === 'udp') one.send({ ...HEAD, kind: 'udp', fromPort: 53, toPort: packet.fromPort, data: bytes('me') })
    expect(text(await answer)).toBe('me')
  })
})

describe('TCP', () => {
  /** Opens a connection as the guest; gives the number behind the network's SYN. */
  const open = (one: NetworkWorld, toPort = 7, to: string = GATEWAY): number => {
    one.send(segment(SYN, 1000, 0, { mss: 1460, windowScale: 7, toPort, to }))
    const [answer] = tcp(one.take())
    expect(answer).toMatchObject({ flags: SYN | ACK, acknowledged: 1001, mss: 1460, windowScale: 3 })
    one.send(segment(ACK, 1001, answer!.sequence + 1, { toPort, to }))
    return (answer!.sequence + 1) >>> 0
  }

  test('reaches a service, which echoes and ends when the guest does', async () => {
    const one = world()
    const mine = open(one)
    one.send(segment(ACK | PSH, 1001, mine, { data: bytes('hello') }))
    await one.turn()
    expect(tcp(one.take()).map((packet) => text(packet.data)).join('')).toBe('hello')
    one.send(segment(FIN | ACK, 1006, mine + 5))
    await one.turn()
    const answers = tcp(one.take())
    expect(answers.at(-1)!.flags & FIN).toBe(FIN)
    one.send(segment(ACK, 1007, mine + 6))
    expect(one.network.statistics).toMatchObject({ opened: 1, connections: 0, reset: 0 })
    expect(one.waiting).toBe(0)
  })

  test('is refused by a reset where nobody is, also at the address of DNS', () => {
    const one = world()
    for (const [to, toPort] of [[GATEWAY, 8], ['198.51.100.9', 80], [DNS, 53]] as const) {
      one.send(segment(SYN, 1000, 0, { to, toPort }))
      expect(tcp(one.take())).toEqual([expect.objectContaining({ flags: RST | ACK, acknowledged: 1001, from: to })])
    }
    expect(one.network.statistics.connections).toBe(0)
  })

  test('of a service that talks first ends as the service does', async () => {
    const one = world()
    open(one, 13, '198.51.100.7')
    await one.turn()
    const answers = tcp(one.take())
    expect(answers.map((packet) => text(packet.data)).join('')).toBe('noon')
    expect(answers.at(-1)!.flags & FIN).toBe(FIN)
  })

  test('to a service that takes nothing fills its window and no more', () => {
    const one = world()
    const mine = open(one, 9, '198.51.100.7')
    let sent = 0
    for (let window = 1; window > 0 && sent < 10_000_000;) {
      one.send(segment(ACK, 1001 + sent, mine, { toPort: 9, to: '198.51.100.7', data: new Uint8Array(1460) }))
      sent += 1460
      window = tcp(one.take()).at(-1)?.window ?? 1
    }
    expect(sent).toBeGreaterThan(256 << 10)
    expect(sent).toBeLessThan((256 << 10) + 3 * 1460)
  })

  test('from a service that never stops fills one buffer and waits for the guest', async () => {
    const outside = simulatedOutside({ tcp: { '127.0.0.1:19': async (connection) => { for (;;) await connection.write(new Uint8Array(4096)) } } })
    const one = world({ outside })
    const mine = open(one, 19)
    for (let turns = 0; turns < 50; turns += 1) await one.turn()
    const [connection] = [...(one.network as unknown as { streams: { stack: Iterable<{ connection: { held: number } }> } }).streams.stack]
    expect(connection!.connection.held).toBeGreaterThan(200_000)
    expect(connection!.connection.held).toBeLessThan((256 << 10) + (128 << 10))
    // It goes on for a guest that takes it, however little at a time.
    let got = mine
    for (let round = 0; round < 200; round += 1) {
      const last = tcp(one.take()).at(-1)
      if (last !== undefined) got = (last.sequence + last.data.length) >>> 0
      if (got - mine < 1_000_000) one.send(segment(ACK, 1001, got, { toPort: 19 }))
      // The last rounds fill the buffer once more: a service that is not held would never end.
      await one.turn()
    }
    expect(got - mine).toBeGreaterThanOrEqual(1_000_000)
  })

  test('comes in by a forwarded port, as soon as the guest is known', async () => {
    const outside = simulatedOutside()
    const one = world({ outside, forward: [{ tcp: 8080, to: 80 }] })
    const client = outside.connect(8080)
    one.settle()
    // Nobody knows yet where the guest is.
    expect(one.take()).toMatchObject([{ kind: 'arp', operation: 'request', target: GUEST }])
    one.send({ kind: 'arp', destination: GATEWAY_MAC, source: GUEST_MAC, operation: 'reply', senderMac: GUEST_MAC, sender: GUEST, targetMac: GATEWAY_MAC, target: GATEWAY })
    one.pass(1.5e9)
    const [syn] = tcp(one.take())
    expect(syn).toMatchObject({ flags: SYN, toPort: 80, from: GATEWAY })
    const back = { fromPort: 80, toPort: syn!.fromPort }
    one.send(segment(SYN | ACK, 5000, syn!.sequence + 1, { ...back, mss: 1460 }))
    await client.write('GET')
    await one.turn()
    expect(tcp(one.take()).map((packet) => text(packet.data)).join('')).toBe('GET')
    one.send(segment(ACK | PSH, 5001, syn!.sequence + 4, { ...back, data: bytes('okay') }))
    one.send(segment(FIN | ACK, 5005, syn!.sequence + 4, back))
    await one.turn()
    const heard: string[] = []
    for await (const piece of client) heard.push(text(piece))
    expect(heard.join('')).toBe('okay')
  })

  test('of a guest that has come from another host\'s network is over, as it is told at its next segment, and its address stays its own', () => {
    const one = world()
    // In the middle of a connection, and of a lease, that this network knows nothing of.
    one.send(segment(ACK | PSH, 5000, 7000, { data: bytes('and so on') }))
    one.send(segment(ACK | PSH, 5000, 7000, { data: bytes('and so on') }))
    expect(tcp(one.take())).toEqual([expect.objectContaining({ flags: RST, sequence: 7000 }), expect.objectContaining({ flags: RST, sequence: 7000 })])
    const renewal = new Uint8Array(300)
    renewal.set([1, 1, 6, 0, 1, 2, 3, 4])
    renewal.set([10, 0, 2, 99], 12)
    renewal.set([0, 0x16, 0x3e, 0, 0, 7], 28)
    renewal.set([0x63, 0x82, 0x53, 0x63, 53, 1, 3, 255], 236)
    one.send({ ...HEAD, from: '10.0.2.99', kind: 'udp', fromPort: 68, toPort: 67, data: renewal })
    expect(one.network.leases).toMatchObject([{ ip: '10.0.2.99', mac: GUEST_MAC }])
  })

  test('that a guest resets is over for the service, and code that throws is told and loses its connection alone', async () => {
    let how = ''
    const outside = simulatedOutside({
      tcp: {
        '127.0.0.1:1': async (connection) => { try { for await (const _ of connection); } catch (error) { how = (error as { code: string }).code } },
        '127.0.0.1:2': () => { throw new Error('no') },
      },
    })
    const one = world({ outside: { ...outside, connectTcp: (to, hears) => { if (to.port === 3) throw new Error('never'); return outside.connectTcp(to, hears) }, connectUdp: outside.connectUdp, resolve: outside.resolve } })
    open(one, 1)
    one.send(segment(RST, 1001, 0, { toPort: 1 }))
    await one.turn()
    expect(how).toBe('CLOSED')
    one.send(segment(SYN, 1000, 0, { toPort: 2 }))
    await one.turn()
    expect(tcp(one.take()).at(-1)!.flags & RST).toBe(RST)
    one.send(segment(SYN, 1000, 0, { toPort: 3 }))
    await one.turn()
    expect(tcp(one.take()).at(-1)!.flags & RST).toBe(RST)
    expect(one.failures).toEqual([expect.objectContaining({ message: 'never' })])
  })
})

describe('what is wrong', () => {
  test('a checksum keeps a packet from being looked at, unless who sent it vouches for it', () => {
    const one = world()
    const ping = encodePacket({ ...HEAD, kind: 'icmp-echo', operation: 'request', id: 1, sequence: 2, data: bytes('abc') })
    for (let at = 14; at < ping.length; at += 1) {
      const damaged = ping.slice()
      damaged[at]! ^= 0x10
      one.send(damaged)
    }
    expect(one.take()).toEqual([])
    expect(one.network.statistics.damaged).toBeGreaterThan(20)
    const blank = encodePacket({ ...HEAD, kind: 'udp', fromPort: 5000, toPort: 7, data: bytes('hello') })
    blank.set([1, 2], 40)
    one.send(blank)
    expect(one.take()).toEqual([])
    one.send(blank, { checksumBlank: true, validated: true })
    expect(one.take()).toMatchObject([{ kind: 'udp', data: bytes('hello') }])
  })

  test('options are refused with what is wrong about them', () => {
    const outside = silentOutside()
    for (const wrong of [
      {}, { outside: {} }, { outside, subnet: '10.0.2.0' }, { outside, subnet: '10.0.2.1/24' }, { outside, subnet: '127.0.0.0/24' }, { outside, subnet: '10.0.2.0/30' },
      { outside, forward: [{ to: 80 }] }, { outside, forward: [{ tcp: 1, udp: 1, to: 80 }] }, { outside, forward: [{ tcp: 1 }] }, { outside, forward: [{ tcp: 1, to: 80, guest: '10.0.3.1' }] },
      { outside, forward: 7 }, { outside, names: { a: 'b' } }, { outside, names: null }, { outside, connections: 0 }, { outside, port: 7 },
    ]) expect(() => world({ outside: undefined, ...wrong } as never), JSON.stringify(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  /** A packet of the guest's that is nearly right, and then damaged where nobody checks, or not at all. */
  function anyFrame(random: SeededRandom): Uint8Array {
    const below = (limit: number): number => random.next() % limit
    const data = new Uint8Array(below(4) === 0 ? below(1400) : below(40))
    fillRandom(random, data)
    const to = [GATEWAY, DNS, '198.51.100.7', '10.0.2.255', GUEST][below(5)]!
    const fromPort = 4000 + below(8)
    const head = { destination: below(8) === 0 ? 'ff:ff:ff:ff:ff:ff' : GATEWAY_MAC, source: GUEST_MAC, from: below(16) === 0 ? '0.0.0.0' : GUEST, to }
    const kinds: readonly (() => Packet)[] = [
      () => ({ kind: 'arp', ...head, operation: below(2) === 0 ? 'request' : 'reply', senderMac: GUEST_MAC, sender: GUEST, targetMac: GATEWAY_MAC, target: to }),
      () => ({ ...head, kind: 'icmp-echo', operation: below(2) === 0 ? 'request' : 'reply', id: 1, sequence: 1, data }),
      () => ({ ...head, kind: 'udp', fromPort, toPort: [7, 53, 67, 9][below(4)]!, data }),
      () => ({ ...head, kind: 'udp', to: '255.255.255.255', fromPort: 68, toPort: 67, data: dhcpNearly(random, data) }),
      () => ({
        ...head, kind: 'tcp', fromPort, toPort: [7, 13, 9, 8][below(4)]!, flags: below(64), sequence: 1000 + below(3000), acknowledged: random.next(),
        window: below(0x10000), data, ...(below(2) === 0 ? { mss: below(0x10000), windowScale: below(256) } : {}),
      }),
    ]
    const frame = encodePacket(kinds[below(kinds.length)]!())
    for (let damages = below(3) === 0 ? below(6) : 0; damages > 0; damages -= 1) frame[below(frame.length)] = random.next()
    return below(10) === 0 ? frame.subarray(0, below(frame.length)) : frame
  }

  function dhcpNearly(random: SeededRandom, rest: Uint8Array): Uint8Array {
    const data = new Uint8Array(244 + rest.length)
    fillRandom(random, data)
    data.set([1, 1, 6])
    data.set([0x63, 0x82, 0x53, 0x63, 53, 1, random.next() % 10], 236)
    data.set(rest, 243)
    return data
  }

  const frames = process.env['FUZZ'] === 'long' ? 200_000 : 20_000

  test('seeded frames, garbage in every layer, throw nothing, leave everything bounded, and a network that serves', { timeout: 120_000 }, async () => {
    const random = new SeededRandom(21)
    const one = world({ connections: 32 })
    for (let count = 0; count < frames; count += 1) {
      one.send(anyFrame(random), random.next() % 2 === 0 ? { checksumBlank: true, validated: true } : {})
      if (count % 50 === 0) await one.turn()
      if (count % 500 === 0) one.pass(random.next() % 5e9)
      if (count % 100 === 0) one.take()
    }
    await one.turn()
    const { connections, datagramWays, framesIn } = one.network.statistics
    expect(framesIn).toBeGreaterThan(frames * 0.9)
    expect(connections).toBeLessThanOrEqual(32)
    expect(datagramWays).toBeLessThanOrEqual(32)
    expect(one.failures).toEqual([])
    expect(one.network.leases.length).toBeLessThanOrEqual(240)
    one.pass(3600e9)
    await one.turn()
    one.take()
    one.introduce()
    one.send({ ...HEAD, kind: 'icmp-echo', operation: 'request', id: 1, sequence: 2, data: bytes('abc') })
    expect(one.take().map(({ kind }) => kind)).toEqual(['icmp-echo'])
  })
})
