/**
 * TCP against itself over a wire that loses, doubles, delays and damages, and against segments of nobody's: that streams arrive as they were sent, what
 * each state makes of what comes, and what is bounded. That others understand it is shown with Linux (test/debian/user-network.test.ts).
 */
import { describe, expect, test } from 'vitest'
import { TCP_FLAG, TCP_STATES, type TcpConnection, type TcpState } from '../../../../../src/drivers/index.ts'
import { ENDS, Talker, TcpLink, type Weather } from '../../../../support/tcp-link.ts'

const { ACK, FIN, PSH, RST, SYN } = TCP_FLAG

const text = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, at) => at * 31 + (at >>> 8) * seed & 0xff)

/** Somebody who opens a connection to somebody who accepts it. */
function pair(client: Talker, server: Talker, options: { seed?: number; weather?: Weather } = {}): TcpLink {
  const link = new TcpLink([{}, {
    listen: (connection) => {
      server.connection = connection
      connection.accept(link.now)
      return server
    },
  }], options)
  client.connection = link.stacks[0].open(ENDS, client, 0)!
  return link
}

describe('a connection', () => {
  test('is opened, carries both ways at once, and is over at both ends', () => {
    const [client, server] = [new Talker(text(300_000)), new Talker(text(200_000, 7))]
    const link = pair(client, server)
    expect(link.run(() => client.how !== undefined && server.how !== undefined)).toBe(true)
    expect(server.hasHeard(text(300_000))).toBe(true)
    expect(client.hasHeard(text(200_000, 7))).toBe(true)
    expect([client.how, server.how, client.isEnded, server.isEnded]).toEqual(['closed', 'closed', true, true])
    expect(link.stacks.map((stack) => [stack.size, stack.counts.retransmitted])).toEqual([[0, 0], [0, 0]])
    // The one that ended first remembers it for a minute, nobody longer.
    expect(link.now).toBeGreaterThanOrEqual(60e9)
    expect(link.now).toBeLessThan(62e9)
  })

  test.each<[string, Weather]>([
    ['loses', { loss: 0.05 }], ['doubles', { doubled: 0.2 }], ['delays', { reordered: 0.2 }], ['damages', { damaged: 0.05 }],
    ['does all of it', { loss: 0.03, doubled: 0.05, reordered: 0.1, damaged: 0.03 }], ['loses every third', { loss: 0.33 }],
  ])('arrives whole over a wire that %s', (_name, weather) => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const [client, server] = [new Talker(text(60_000, seed)), new Talker(text(40_000, seed + 1))]
      const link = pair(client, server, { seed, weather })
      expect(link.run(() => client.isEnded && server.isEnded)).toBe(true)
      expect(server.hasHeard(text(60_000, seed))).toBe(true)
      expect(client.hasHeard(text(40_000, seed + 1))).toBe(true)
      link.weather = {}
      link.run()
      expect(link.stacks.map(({ size }) => size)).toEqual([0, 0])
    }
  })

  test('is as fast again after one loss as three acknowledgements are on their way', () => {
    const [client, server] = [new Talker(text(100_000)), new Talker()]
    const link = pair(client, server)
    let count = 0
    link.lose = (packet, from) => from === 0 && packet.data.length > 0 && (count += 1) === 5
    expect(link.run(() => server.isEnded)).toBe(true)
    expect(server.hasHeard(text(100_000))).toBe(true)
    expect(link.stacks[0].counts.retransmitted).toBe(1)
    // No time-out was waited for.
    expect(link.now).toBeLessThan(200e6)
  })

  test('stands while nobody takes what comes, and goes on when somebody does, with a window lost on its way', () => {
    const [client, server] = [new Talker(text(400_000)), new Talker()]
    server.takes = false
    const link = pair(client, server)
    link.run(() => false, 30e9)
    expect(server.length).toBe(64 << 10)
    // It asks again and again, a byte at a time, and holds no more than its buffer.
    expect(client.connection!.held).toBeLessThanOrEqual(64 << 10)
    const probes = link.sent.filter(({ from, packet }) => from === 0 && packet.data.length === 1)
    expect(probes.length).toBeGreaterThan(3)
    let lost = 0
    link.lose = (packet, from) => from === 1 && packet.window > 0 && (lost += 1) === 1
    server.takes = true
    server.connection!.taken(server.length)
    expect(link.run(() => server.isEnded)).toBe(true)
    expect(lost).toBeGreaterThan(1)
    expect(server.hasHeard(text(400_000))).toBe(true)
  })

  test('may be ended one way and go on the other', () => {
    const [client, server] = [new Talker(text(1000)), new Talker(new Uint8Array(0), 'never')]
    const link = pair(client, server)
    link.run(() => server.isEnded)
    link.run(() => client.connection!.state === 'fin-wait-2')
    expect([client.connection!.state, server.connection!.state]).toEqual(['fin-wait-2', 'close-wait'])
    server.connection!.write(text(50_000, 3))
    server.connection!.end()
    expect(link.run(() => client.isEnded)).toBe(true)
    expect(client.hasHeard(text(50_000, 3))).toBe(true)
    link.run()
    expect([client.how, server.how]).toEqual(['closed', 'closed'])
  })

  test('is ended by both ends at once', () => {
    const [client, server] = [new Talker(new Uint8Array(0), 'never'), new Talker(new Uint8Array(0), 'never')]
    const link = pair(client, server)
    link.run(() => client.isOpen && server.isOpen)
    client.connection!.end()
    server.connection!.end()
    link.run(() => client.connection!.state === 'closing')
    expect(server.connection!.state).toBe('closing')
    link.run()
    expect([client.how, server.how]).toEqual(['closed', 'closed'])
  })

  test('of an end that has gone is given up: within minutes where something is on its way, and where nothing is', () => {
    const [client, server] = [new Talker(text(10), 'never'), new Talker(new Uint8Array(0), 'never')]
    const link = pair(client, server)
    link.run(() => server.length === 10)
    link.run(() => false, link.now + 1e9)
    link.lose = () => true
    client.connection!.write(text(10))
    link.run(() => client.how !== undefined)
    expect(client.how).toBe('timed-out')
    expect(link.now).toBeLessThan(400e9)
    expect(link.run(() => server.how !== undefined)).toBe(true)
    expect(server.how).toBe('timed-out')
    expect(link.now).toBeLessThan(900e9)
  })

  test('that nobody answers is given up', () => {
    const client = new Talker()
    const link = pair(client, new Talker())
    link.lose = () => true
    expect(link.run(() => client.how !== undefined)).toBe(true)
    expect([client.how, link.sent.filter(({ from }) => from === 0).length]).toEqual(['timed-out', 5])
  })

  test('for which nobody listens is refused', () => {
    const link = new TcpLink([{}, {}])
    const client = new Talker()
    client.connection = link.stacks[0].open(ENDS, client, 0)!
    link.run(() => client.how !== undefined)
    expect(client.how).toBe('reset')
    expect(link.stacks[1].counts.refused).toBe(1)
  })
})

/** Brings a server's connection to a state, and says what comes next in it. */
function inState(state: TcpState): { link: TcpLink; server: Talker; next: number; mine: number } | undefined {
  const server = new Talker(new Uint8Array(0), 'never')
  const link = new TcpLink([{}, {
    listen: (connection: TcpConnection) => {
      server.connection = connection
      if (state !== 'accepting') connection.accept(link.now)
      return server
    },
  }])
  link.lose = () => true
  const ports = { fromPort: 4000, toPort: 80 }
  link.inject(1, { ...ports, flags: SYN, sequence: 1000, mss: 1460 })
  const mine = (): number => (link.sent.at(-1)!.packet.sequence + (link.sent.at(-1)!.packet.flags & (SYN | FIN) ? 1 : 0)) >>> 0
  const at = { link, server, next: 1001, mine: 0 }
  if (state === 'accepting' || state === 'syn-received') return { ...at, mine: state === 'accepting' ? 0 : mine() }
  at.mine = mine()
  link.inject(1, { ...ports, flags: ACK, sequence: 1001, acknowledged: at.mine })
  const end = (): void => {
    server.connection!.end()
    link.flush()
    at.mine = mine()
  }
  const hear = (flags: number): void => {
    link.inject(1, { ...ports, flags, sequence: at.next, acknowledged: at.mine })
    if ((flags & FIN) !== 0) at.next += 1
  }
  const steps: Partial<Record<TcpState, () => void>> = {
    established: () => undefined, 'fin-wait-1': end, 'fin-wait-2': () => { end(); hear(ACK) }, 'close-wait': () => hear(FIN | ACK),
    closing: () => {
      server.connection!.end()
      link.flush()
      hear(FIN | ACK)
      at.mine = (at.mine + 1) >>> 0
    },
    'last-ack': () => { hear(FIN | ACK); end() }, 'time-wait': () => { end(); hear(FIN | ACK) },
  }
  const step = steps[state]
  if (step === undefined) return undefined
  step()
  return at
}

describe('in each state', () => {
  const states = TCP_STATES.filter((state) => state !== 'closed' && state !== 'syn-sent')

  test.each(states)('%s: is reached, ends by the right reset, and by no other', (state) => {
    const wrong = inState(state)!
    expect(wrong.server.connection!.state).toBe(state)
    const ports = { fromPort: 4000, toPort: 80 }
    const before = wrong.link.sent.length
    wrong.link.inject(1, { ...ports, flags: RST, sequence: (wrong.next + 100) >>> 0 })
    wrong.link.inject(1, { ...ports, flags: RST, sequence: (wrong.next - 100) >>> 0 })
    expect(wrong.server.connection!.state).toBe(state)
    // Within the window it is answered, once, so that whoever meant it says it right.
    expect(wrong.link.sent.slice(before).every(({ packet }) => (packet.flags & RST) === 0)).toBe(true)
    wrong.link.inject(1, { ...ports, flags: RST, sequence: wrong.next })
    expect(wrong.server.connection!.state).toBe('closed')
    expect(wrong.server.how).toBe(state === 'time-wait' ? 'closed' : 'reset')
    expect(wrong.link.stacks[1].size).toBe(0)
  })

  test.each(states)('%s: survives what is behind, before and beyond everything, and what acknowledges what was never sent', (state) => {
    const { link, server, next, mine } = inState(state)!
    const ports = { fromPort: 4000, toPort: 80 }
    const { connection } = server
    link.inject(1, { ...ports, flags: ACK, sequence: (next - 1) >>> 0, acknowledged: mine })
    for (const sequence of [next - 5000, next + 200_000, next + 2 ** 31]) {
      for (const flags of [ACK, ACK | PSH, ACK | FIN, SYN, SYN | ACK, 0]) link.inject(1, { ...ports, flags, sequence: sequence >>> 0, acknowledged: mine, data: text(10) })
    }
    for (const acknowledged of [mine + 1, mine + 100_000, mine + 2 ** 31]) link.inject(1, { ...ports, flags: ACK, sequence: next, acknowledged: acknowledged >>> 0 })
    link.inject(1, { ...ports, flags: SYN, sequence: next, acknowledged: mine })
    // A new beginning over the ends of one that only waits takes its place.
    expect(connection!.state).toBe(state === 'time-wait' ? 'closed' : state)
    expect(server.length).toBe(0)
  })

  test.each(states)('%s: is left by its owner with a reset, but where all is said', (state) => {
    const { link, server } = inState(state)!
    const before = link.sent.length
    server.connection!.abort()
    expect(link.sent.slice(before).map(({ packet }) => packet.flags)).toEqual(state === 'time-wait' ? [] : [RST | ACK])
    expect(server.connection!.state).toBe('closed')
  })
})

describe('what is bounded', () => {
  const listening = (accepts: boolean) => (connection: TcpConnection) => {
    const talker = new Talker(new Uint8Array(0), 'never')
    talker.connection = connection
    talker.takes = false
    if (accepts) connection.accept(0)
    return talker
  }

  test('a flood of SYNs finds so many half open, and the rest no answer, until they have timed out', () => {
    const link = new TcpLink([{}, { listen: listening(true) }])
    link.lose = () => true
    for (let port = 1; port <= 10_000; port += 1) link.inject(1, { fromPort: port, toPort: 80, flags: SYN, sequence: port })
    expect([link.stacks[1].size, link.stacks[1].counts.ignored]).toEqual([64, 9936])
    link.run()
    expect(link.stacks[1].size).toBe(0)
    expect(link.now).toBeLessThan(120e9)
  })

  test('of connections there are so many, those that only wait make room, and the rest is refused', () => {
    const link = new TcpLink([{}, { listen: listening(true), limits: { connections: 3 } }])
    link.lose = () => true
    const open = (port: number): number => {
      link.inject(1, { fromPort: port, toPort: 80, flags: SYN, sequence: 1000 })
      const { packet } = link.sent.at(-1)!
      link.inject(1, { fromPort: port, toPort: 80, flags: ACK, sequence: 1001, acknowledged: (packet.sequence + 1) >>> 0 })
      return packet.flags
    }
    expect([1, 2, 3, 4].map(open)).toEqual([SYN | ACK, SYN | ACK, SYN | ACK, RST | ACK])
    const [first] = [...link.stacks[1]]
    first!.connection.end()
    link.flush()
    link.inject(1, { fromPort: 1, toPort: 80, flags: FIN | ACK, sequence: 1001, acknowledged: (link.sent.at(-1)!.packet.sequence + 1) >>> 0 })
    expect(first!.connection.state).toBe('time-wait')
    expect(open(5)).toBe(SYN | ACK)
    expect(link.stacks[1].size).toBe(3)
  })

  test('no more is held than a window, however it is cut and in whatever order it comes', () => {
    const at = inState('established')!
    at.server.takes = false
    const ports = { fromPort: 4000, toPort: 80 }
    // Single bytes with gaps between them: pieces are counted.
    for (let offset = 1; offset < 20_000; offset += 2) at.link.inject(1, { ...ports, flags: ACK, sequence: (at.next + offset) >>> 0, acknowledged: at.mine, data: text(1) })
    const { receiver } = at.server.connection!.save()
    expect(receiver.pieces.length).toBeLessThanOrEqual(128)
    // And all that the window lets in, byte by byte.
    for (let sent = 0; sent < 70_000; sent += 100) at.link.inject(1, { ...ports, flags: ACK, sequence: (at.next + sent) >>> 0, acknowledged: at.mine, data: text(100) })
    expect(at.server.length).toBeLessThanOrEqual(64 << 10)
    expect(at.server.connection!.held).toBeLessThanOrEqual(64 << 10)
    expect(at.link.sent.at(-1)!.packet.window).toBe(0)
  })
})
