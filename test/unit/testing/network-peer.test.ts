/** A peer on a bridge: what it answers by itself, how frames are told, and what a wait in vain says. */
import { describe, expect, test } from 'vitest'
import { answerPing, pingResponder } from '../../support/ping.ts'
import { TCP_FLAG, decodePacket, encodePacket, frameCondition, networkPeer, packetText, testHost, type Packet } from '../../../src/testing/index.ts'

const GUEST = { mac: '00:16:3e:00:00:07', ip: '10.0.0.7' }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const echo: Packet = { kind: 'icmp-echo', destination: '00:16:3e:00:00:fe', source: GUEST.mac, from: GUEST.ip, to: '10.0.0.254', operation: 'request', id: 1, sequence: 2, data: bytes('abc') }
const datagram: Packet = { kind: 'udp', destination: '00:16:3e:00:00:fe', source: GUEST.mac, from: GUEST.ip, to: '10.0.0.254', fromPort: 4000, toPort: 7, data: bytes('hello') }
const segment = (flags: number, sequence: number, data = '', acknowledged = 0): Packet =>
  ({ kind: 'tcp', destination: '00:16:3e:00:00:fe', source: GUEST.mac, from: GUEST.ip, to: '10.0.0.254', fromPort: 4001, toPort: 7, flags, sequence, acknowledged, window: 1000, data: bytes(data) })

describe('frames', () => {
  test.each<[string, Packet]>([
    ['ARP', { kind: 'arp', destination: 'ff:ff:ff:ff:ff:ff', source: GUEST.mac, operation: 'request', senderMac: GUEST.mac, sender: GUEST.ip, targetMac: '00:00:00:00:00:00', target: '10.0.0.1' }],
    ['ICMP', echo], ['UDP', datagram], ['TCP', segment(TCP_FLAG.SYN, 0xffff_fff0)],
  ])('of %s are put together and taken apart', (_name, packet) => {
    const frame = encodePacket(packet)
    expect(decodePacket(frame)).toEqual(packet)
    expect(packetText(packet)).toContain(packet.kind === 'arp' ? 'who has 10.0.0.1' : GUEST.ip)
    for (let length = 0; length < frame.length; length += 1) expect(['other', 'arp']).toContain(decodePacket(frame.subarray(0, length)).kind)
  })

  test('have checksums that somebody else finds right', () => {
    // What answers pings computes its checksum by itself.
    const answer = answerPing(encodePacket(echo), Uint8Array.of(0, 0x16, 0x3e, 0xff, 0xff, 0xfe), [10, 0, 0, 254])!
    expect(encodePacket({ ...echo, operation: 'reply', destination: GUEST.mac, source: '00:16:3e:00:00:fe', from: '10.0.0.254', to: GUEST.ip }).subarray(34)).toEqual(answer.subarray(34))
  })

  test('are told by facts, by a condition, and by nothing that there is not', () => {
    const frame = encodePacket(datagram)
    expect(frameCondition({ kind: 'udp', toPort: 7, data: 'hello' })(frame)).toBe(true)
    expect(frameCondition({ data: /^hel/ })(frame)).toBe(true)
    expect(frameCondition({ kind: 'udp', toPort: 8 })(frame)).toBe(false)
    expect(frameCondition((packet) => packet.kind === 'udp')(frame)).toBe(true)
    expect(() => frameCondition({ port: 7 })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => frameCondition(7 as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('a peer', () => {
  test('finds and pings a guest', async () => {
    await using host = await testHost()
    await host.createDomain({ name: 'one', memory: 4, kernel: pingResponder([10, 0, 0, 7]), nics: ['mac=00:16:3e:00:00:07'] })
    await host.waitForNode('/local/domain/1/device/vif/0/state', '4')
    using peer = networkPeer(host)
    expect(await peer.resolve('10.0.0.7')).toBe('00:16:3e:00:00:07')
    expect(await peer.ping('10.0.0.7', { bytes: 1400 })).toBeGreaterThanOrEqual(0)
    await expect(peer.ping('10.0.0.8', { timeout: '1s' })).rejects.toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('did not come; nothing came') })
    expect(host.report().capture?.length).toBeGreaterThan(3000)
  })

  test('answers ARP, pings, UDP and TCP echo, and nobody else', async () => {
    await using host = await testHost()
    using peer = networkPeer(host)
    using guest = networkPeer(host, { ip: GUEST.ip, mac: GUEST.mac, answers: false })
    guest.send(datagram)
    expect(await guest.waitFor({ kind: 'udp' })).toMatchObject({ from: '10.0.0.254', fromPort: 7, toPort: 4000, data: bytes('hello') })
    guest.send(echo)
    expect(await guest.waitFor({ kind: 'icmp-echo', operation: 'reply' })).toMatchObject({ sequence: 2, data: bytes('abc') })
    guest.send(segment(TCP_FLAG.SYN, 100))
    const hello = await guest.waitFor({ kind: 'tcp', flags: TCP_FLAG.SYN | TCP_FLAG.ACK }) as Extract<Packet, { kind: 'tcp' }>
    expect(hello.acknowledged).toBe(101)
    const next = (hello.sequence + 1) >>> 0
    guest.send(segment(TCP_FLAG.ACK, 101, '', next))
    guest.send(segment(TCP_FLAG.ACK | TCP_FLAG.PSH, 101, 'again', next))
    expect(await guest.waitFor({ kind: 'tcp', data: 'again' })).toMatchObject({ sequence: next, acknowledged: 106 })
    expect(peer.connections).toBe(1)
    // One that was lost is asked for again.
    guest.send(segment(TCP_FLAG.ACK, 200, 'later', next))
    expect(await guest.waitFor({ kind: 'tcp' })).toMatchObject({ acknowledged: 106, data: bytes('') })
    guest.send(segment(TCP_FLAG.FIN | TCP_FLAG.ACK, 106, '', next + 5))
    expect(await guest.waitFor({ kind: 'tcp', flags: TCP_FLAG.FIN | TCP_FLAG.ACK })).toMatchObject({ acknowledged: 107 })
    guest.send(segment(TCP_FLAG.ACK, 107, '', next + 6))
    // It is over, and whoever goes on is told.
    guest.send(segment(TCP_FLAG.ACK, 107, 'late', next + 6))
    expect(await guest.waitFor({ kind: 'tcp', flags: TCP_FLAG.RST })).toMatchObject({ sequence: next + 6 })
    expect(peer.connections).toBe(0)
    expect(peer.frames.length).toBeGreaterThan(5)
    guest.send({ ...datagram, to: '10.0.0.1' })
    guest.send(encodePacket(datagram).subarray(0, 20))
    await expect(guest.waitFor({ kind: 'udp' }, { timeout: '1s' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
  })

  test('meets others at its bridge, each with a MAC of its own', async () => {
    await using host = await testHost()
    using one = networkPeer(host, { ip: '10.0.0.1' })
    using two = networkPeer(host, { ip: '10.0.0.2' })
    expect([one.mac, two.mac]).toEqual(['00:16:3e:00:00:01', '00:16:3e:00:00:02'])
    expect(await one.resolve('10.0.0.2')).toBe(two.mac)
    expect(await two.ping('10.0.0.1')).toBeGreaterThanOrEqual(0)
  })

  test('refuses addresses that are none', async () => {
    await using host = await testHost()
    expect(() => networkPeer(host, { ip: '10.0.0.256' })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => networkPeer(host, { mac: 'x' })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => networkPeer(host, { port: 7 } as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
