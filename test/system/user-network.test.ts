/**
 * A user-mode network as a host has it: guests' connections to servers of this machine, with what the servers say noted and fed to another host; moments,
 * branches and forwarded ports; what a host at its end leaves behind. The guest is code at the bridge.
 */
import { once } from 'node:events'
import { connect as dial, createServer, type AddressInfo, type Server } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { silentOutside, TCP_FLAG, type TcpPacket, type UserPort } from '../../src/drivers/index.ts'
import { Host } from '../../src/index.ts'
import { feedInputs, recordInputs, type InputRecord } from '../../src/toolstack/index.ts'
import { nodeOutside } from '../../src/node/index.ts'
import { decodePacket, encodePacket, simulatedOutside, type Packet } from '../../src/testing/index.ts'
import { GATEWAY, GUEST, GUEST_MAC, HEAD } from '../support/network-world.ts'

const { ACK, FIN, PSH, RST, SYN } = TCP_FLAG
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (content: Uint8Array): string => new TextDecoder().decode(content)
const SMALL = { memory: 32, dom0Memory: 16 }

const closing: (() => Promise<unknown> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function boot(options: Parameters<typeof Host.boot>[0]): Promise<Host> {
  const host = await Host.boot({ ...SMALL, ...options })
  closing.push(() => host.shutdown())
  return host
}

async function serve(server: Server): Promise<number> {
  server.on('connection', (socket) => socket.on('error', () => undefined))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** A guest at a port of the bridge, of whose TCP the test says each segment. */
class Guest {
  readonly heard: Packet[] = []
  private readonly port: UserPort

  constructor(port: UserPort) {
    this.port = port
    void this.listen()
  }

  private async listen(): Promise<void> {
    for await (const frame of this.port) this.heard.push(decodePacket(frame))
  }

  send(packet: Packet): void {
    this.port.send(encodePacket(packet))
  }

  segment(toPort: number, flags: number, numbers: readonly [number, number], data = ''): void {
    this.send({ ...HEAD, kind: 'tcp', fromPort: 4000, toPort, flags, sequence: numbers[0] >>> 0, acknowledged: numbers[1] >>> 0, window: 60_000, data: bytes(data), ...(flags === SYN ? { mss: 1460 } : {}) })
  }

  get segments(): readonly TcpPacket[] {
    return this.heard.filter((packet) => packet.kind === 'tcp')
  }

  get said(): string {
    return this.segments.map(({ data }) => text(data)).join('')
  }

  /** Opens a connection; gives the number behind the network's SYN. */
  async open(host: Host, toPort: number): Promise<number> {
    this.send({ kind: 'arp', destination: 'ff:ff:ff:ff:ff:ff', source: GUEST_MAC, operation: 'request', senderMac: GUEST_MAC, sender: GUEST, targetMac: '00:00:00:00:00:00', target: GATEWAY })
    this.segment(toPort, SYN, [1000, 0])
    await host.until('an answer', () => this.segments.length > 0)
    const { flags, sequence } = this.segments[0]!
    expect(flags).toBe(SYN | ACK)
    this.segment(toPort, ACK, [1001, sequence + 1])
    return sequence + 1
  }
}

const guestOf = (host: Host): Guest => new Guest(host.bridge().open())
/** Waits for what comes from a machine that knows no host time. */
const until = async (host: Host, what: string, met: () => boolean): Promise<void> => {
  const release = host.expectInput()
  await host.until(what, met)
  release()
}

/** Talks with an echo server of this machine. */
async function talk(host: Host, guest: Guest, port: number): Promise<void> {
  const mine = await guest.open(host, port)
  guest.segment(port, ACK | PSH, [1001, mine], 'hello')
  await until(host, 'the echo', () => guest.said === 'hello')
  guest.segment(port, FIN | ACK, [1006, mine + 5])
  await until(host, 'the end', () => guest.segments.some(({ flags }) => (flags & FIN) !== 0))
  guest.segment(port, ACK, [1007, mine + 6])
  await host.settled()
}

describe('servers of this machine', () => {
  test('are reached at the gateway\'s address, and what they said, fed to another host, gives the same to the last bit', async () => {
    const port = await serve(createServer((socket) => socket.pipe(socket)))
    const first = await boot({ networks: { xenbr0: { outside: nodeOutside() } } })
    const records: InputRecord[] = []
    recordInputs(first, (record) => records.push(record))
    const guest = guestOf(first)
    await talk(first, guest, port)
    expect(records.filter(({ input }) => input.source === 'network').map(({ input }) => (input.source === 'network' ? input.said.event : ''))).toEqual(expect.arrayContaining(['opened', 'taken', 'data', 'ended']))
    const second = await boot({ networks: { xenbr0: { outside: silentOutside() } } })
    const again = guestOf(second)
    // The first of a port's numbers is the network's.
    await feedInputs(second, JSON.parse(JSON.stringify(records), (_, value) => (value?.bytes === undefined ? value : { ...value, bytes: Uint8Array.from(Object.values(value.bytes as object) as number[]) })) as InputRecord[])
    await second.settled()
    expect(again.heard).toEqual(guest.heard)
    expect(second.network().statistics).toEqual(first.network().statistics)
    expect(second.now()).toBe(first.now())
  })

  test('wait for nobody\'s virtual time: a server that thinks for a while is no server that is gone', async () => {
    const port = await serve(createServer((socket) => { socket.once('data', () => setTimeout(() => socket.end('thought'), 300)) }))
    const host = await boot({ networks: { xenbr0: { outside: nodeOutside() } } })
    const guest = guestOf(host)
    const mine = await guest.open(host, port)
    guest.segment(port, ACK | PSH, [1001, mine], 'think')
    // A host with nothing to do would be at the end of this minute at once.
    await host.until('the thought', () => guest.said === 'thought', { timeout: '60s' })
  })

  test('beyond the loopback are not reached unless somebody says so, nor are names asked', async () => {
    const asked: string[] = []
    const host = await boot({ networks: { xenbr0: { outside: nodeOutside() }, two: { outside: nodeOutside({ reach: (to) => { asked.push(`${to.protocol} ${to.host}:${to.port}`); return false } }) } } })
    for (const [bridge, to] of [['xenbr0', '198.51.100.1'], ['two', '198.51.100.1'], ['two', GATEWAY]] as const) {
      const guest = new Guest(host.bridge(bridge).open())
      guest.send({ kind: 'arp', destination: 'ff:ff:ff:ff:ff:ff', source: GUEST_MAC, operation: 'request', senderMac: GUEST_MAC, sender: GUEST, targetMac: '00:00:00:00:00:00', target: GATEWAY })
      guest.send({ ...HEAD, to, kind: 'tcp', fromPort: 4000, toPort: 80, flags: SYN, sequence: 1000, acknowledged: 0, window: 1000, data: bytes('') })
      await host.until('a refusal', () => guest.segments.length > 0)
      expect(guest.segments[0]!.flags & RST).toBe(RST)
      if (bridge === 'two') continue
      guest.send({ ...HEAD, to: '10.0.2.3', kind: 'udp', fromPort: 5000, toPort: 53, data: Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1]) })
      await host.until('an answer', () => guest.heard.some(({ kind }) => kind === 'udp'))
      expect(guest.heard.find((packet) => packet.kind === 'udp')).toMatchObject({ fromPort: 53, data: expect.objectContaining({ 3: 0x85 }) })
    }
    expect(asked).toEqual(['tcp 198.51.100.1:80', 'tcp 127.0.0.1:80'])
  })

  test('a host at its end lets go of everything: sockets, and ports that it listened at', async () => {
    const server = createServer()
    const port = await serve(server)
    const outside = nodeOutside()
    const host = await boot({ networks: { xenbr0: { outside, forward: [{ tcp: 0, to: 80 }] } } })
    const [listening] = await outside.ports()
    await guestOf(host).open(host, port)
    await host.shutdown()
    await expect(once(dial(listening!.port, '127.0.0.1'), 'connect')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    while (await new Promise<number>((resolve, reject) => server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)))) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await outside.ports()).toEqual([])
  })

  test('a port that cannot be forwarded is told, and the network is there all the same', async () => {
    const port = await serve(createServer())
    const host = await boot({ networks: { xenbr0: { outside: nodeOutside(), forward: [{ tcp: port, to: 80 }] } } })
    const failure = await host.events.once('callback-failed')
    expect(failure).toMatchObject({ callback: 'network-outside', subject: 'xenbr0', error: { code: 'IO', details: { port } } })
    expect(host.network().gateway).toBe(GATEWAY)
  })
})

describe('a moment', () => {
  const outside = () => simulatedOutside({ tcp: { '127.0.0.1:7': async (connection) => { for await (const piece of connection) await connection.write(piece) } } })

  test('has the network as it stood; connections that were open are reset where somebody goes on from it, and new ones are opened', async () => {
    const host = await boot({ networks: { xenbr0: { outside: outside(), forward: [{ tcp: 8080, to: 80 }] } } })
    const guest = guestOf(host)
    const mine = await guest.open(host, 7)
    const moment = await host.checkpoint()
    const hash = await host.stateHash()
    // A checkpoint changes nothing: the connection goes on.
    guest.segment(7, ACK | PSH, [1001, mine], 'hello')
    await host.until('the echo', () => guest.said === 'hello')
    expect(await host.stateHash()).not.toEqual(hash)

    await host.reset(moment)
    const later = new Guest(host.bridge().userPorts[0]!)
    await host.until('the reset', () => later.segments.some(({ flags }) => (flags & RST) !== 0))
    expect(later.segments.at(-1)).toMatchObject({ flags: RST | ACK, sequence: mine >>> 0, acknowledged: 1001, toPort: 4000, fromPort: 7 })
    expect(host.network().statistics).toMatchObject({ connections: 0, reset: 1 })
    later.heard.length = 0
    expect(await later.open(host, 7)).toBeGreaterThan(0)

    const branch = await moment.branch()
    closing.push(() => branch.shutdown())
    const other = new Guest(branch.bridge().userPorts[0]!)
    await branch.until('the reset', () => other.segments.some(({ flags }) => (flags & RST) !== 0))
    expect(branch.network().statistics).toMatchObject({ connections: 0, reset: 1, opened: 0 })
  })

  test('without connections is the same to the last part when a host is brought back to it, forwarded ports among it', async () => {
    const world = simulatedOutside()
    const host = await boot({ networks: { xenbr0: { outside: world, forward: [{ tcp: 8080, to: 80 }] } } })
    const guest = guestOf(host)
    guest.send({ kind: 'arp', destination: 'ff:ff:ff:ff:ff:ff', source: GUEST_MAC, operation: 'request', senderMac: GUEST_MAC, sender: GUEST, targetMac: '00:00:00:00:00:00', target: GATEWAY })
    await host.settled()
    const moment = await host.checkpoint()
    const hash = await host.stateHash()
    for (let sequence = 0; sequence < 5; sequence += 1) guest.send({ ...HEAD, kind: 'icmp-echo', operation: 'request', id: 1, sequence, data: bytes('x') })
    await host.settled()
    await host.reset(moment)
    expect(await host.stateHash()).toEqual(hash)
    const later = new Guest(host.bridge().userPorts[0]!)
    world.connect(8080)
    await host.until('a SYN', () => later.segments.length > 0)
    expect(later.segments[0]).toMatchObject({ flags: SYN, toPort: 80, from: GATEWAY, to: GUEST })
  })

  test('of a host with a network is none to a host without one', async () => {
    await expect(boot({ networks: { xenbr0: {} as never } })).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining('networks.xenbr0') })
    const host = await boot({})
    expect(() => host.network()).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
