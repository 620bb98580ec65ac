import { describe, expect, test } from 'vitest'
import {
  DOMID, ERRNO, EVTCHN_FIFO, EvtchnFifoControlBlock, SharedInfo, VIRQ, VcpuInfo,
} from '../../../../src/abi/index.ts'
import { eventShape, type EventState } from '../../../../src/hypervisor/events/index.ts'
import { SeededRandom, below, part } from '../../../../src/util/index.ts'
import { EventHostDouble } from '../../../support/event-host.ts'

const PAGE = 4096
const BIT = { pending: 1 << 31, masked: 1 << 30, linked: 1 << 29, busy: 1 << 28 } as const
const LINK = EVTCHN_FIFO.LINK_MASK

/**
 * A guest that speaks the FIFO ABI: control blocks and event array in frames of its own, and the consumer a kernel
 * has.
 */
class FifoGuest {
  readonly host = new EventHostDouble()
  readonly vcpus: number
  readonly id
  readonly events
  readonly sharedInfo: number
  readonly controlFrames: number[]
  readonly arrayFrames: number[] = []
  /** The consumer's own heads, as Linux keeps them. */
  private readonly heads: number[][]

  constructor(vcpus = 2) {
    this.vcpus = vcpus
    const { id, events, sharedInfo } = this.host.domain(1, { maxPort: 0x7fffffff, vcpuCount: vcpus })
    this.id = id
    this.events = events
    this.sharedInfo = sharedInfo
    this.controlFrames = Array.from({ length: vcpus }, () => this.host.frame())
    this.heads = this.controlFrames.map(() => new Array<number>(16).fill(0))
  }

  get channels() {
    return this.host.channels
  }

  init(pages = 1): this {
    this.controlFrames.forEach((frame, vcpu) => expect(this.channels.initControl(this.id, vcpu, frame, 64)).toBe(0))
    for (let i = 0; i < pages; i += 1) this.expand()
    return this
  }

  expand(): number {
    const frame = this.host.frame()
    this.arrayFrames.push(frame)
    return this.channels.expandArray(this.id, frame)
  }

  private at(port: number): number {
    return this.arrayFrames[port >> 10]! * PAGE + (port & 1023) * 4
  }

  word(port: number): number {
    return this.host.memory.view.getInt32(this.at(port), true)
  }

  setWord(port: number, value: number): void {
    this.host.memory.view.setInt32(this.at(port), value, true)
  }

  control(vcpu: number): number {
    return this.controlFrames[vcpu]! * PAGE + 64
  }

  ready(vcpu: number): number {
    return EvtchnFifoControlBlock.ready.get(this.host.memory.view, this.control(vcpu))
  }

  ipi(vcpu = 0, priority = 7): number {
    const port = this.channels.bindIpi(this.id, vcpu)
    if (this.events.delivery.abi === 'fifo') expect(this.channels.setPriority(this.id, port, priority)).toBe(0)
    return port
  }

  send(port: number): void {
    expect(this.channels.send(this.id, port)).toBe(0)
  }

  /** Takes the upcall and consumes all queues by priority, as a kernel does; the ports in order. */
  consume(vcpu = 0): number[] {
    const { view } = this.host.memory
    VcpuInfo.evtchnUpcallPending.set(view, SharedInfo.vcpuInfo.at(this.sharedInfo, vcpu), 0)
    const { ready, head } = EvtchnFifoControlBlock
    const handled: number[] = []
    let bits = ready.get(view, this.control(vcpu))
    ready.set(view, this.control(vcpu), 0)
    while (bits !== 0) {
      const priority = 31 - Math.clz32(bits & -bits)
      const heads = this.heads[vcpu]!
      if (heads[priority] === 0) heads[priority] = view.getUint32(head.at(this.control(vcpu), priority), true)
      const port = heads[priority]!
      const word = this.word(port)
      this.setWord(port, word & ~(BIT.linked | LINK))
      heads[priority] = word & LINK
      if (heads[priority] === 0) bits &= ~(1 << priority)
      if ((word & BIT.pending) !== 0 && (word & BIT.masked) === 0) {
        this.setWord(port, this.word(port) & ~BIT.pending)
        handled.push(port)
      }
      bits |= ready.get(view, this.control(vcpu))
      ready.set(view, this.control(vcpu), 0)
    }
    return handled
  }
}

describe('setting up', () => {
  test('the first control block switches to 131,072 ports', () => {
    const guest = new FifoGuest()
    expect(guest.channels.expandArray(guest.id, 5)).toBe(-ERRNO.EOPNOTSUPP)
    guest.init()
    expect(guest.events.delivery.abi).toBe('fifo')
    let last = 0
    for (let port = 1; port < 131072; port += 1) last = guest.channels.bindIpi(guest.id, 0)
    expect(last).toBe(131071)
    expect(guest.channels.bindIpi(guest.id, 0)).toBe(-ERRNO.ENOSPC)
  })

  test.each([
    ['a vCPU that does not exist', 2, 7, 0, -ERRNO.ENOENT],
    ['an offset that crosses the page', 0, 7, PAGE - 64, -ERRNO.EINVAL],
    ['the last offset that fits', 0, 7, PAGE - 72, 0],
    ['an offset that is not aligned', 0, 7, 4, -ERRNO.EINVAL],
    ['an offset of 2^32 - 8', 0, 7, 0xfffffff8, -ERRNO.EINVAL],
    ['a frame that cannot be had', 0, 4000, 0, -ERRNO.EINVAL],
  ])('init_control with %s', (_name, vcpu, gfn, offset, expected) => {
    const guest = new FifoGuest()
    expect(guest.channels.initControl(guest.id, vcpu, gfn, offset)).toBe(expected)
    expect(guest.events.delivery.abi).toBe(expected === 0 ? 'fifo' : '2-level')
    expect(guest.host.held).toHaveLength(expected === 0 ? 1 : 0)
  })

  test('a control block is given once', () => {
    const guest = new FifoGuest().init()
    expect(guest.channels.initControl(guest.id, 1, 9, 0)).toBe(-ERRNO.EINVAL)
  })

  test('the event array has 128 pages', () => {
    const guest = new FifoGuest().init(0)
    const statuses = Array.from({ length: 129 }, (_, i) => guest.channels.expandArray(guest.id, i + 1))
    expect(statuses.slice(0, 128).every((status) => status === 0)).toBe(true)
    expect(statuses[128]).toBe(-ERRNO.ENOSPC)
    expect(new FifoGuest().init(0).channels.expandArray(guest.id, 9999)).toBe(-ERRNO.EINVAL)
  })

  test('what was pending under the 2-level ABI is delivered once its word exists', () => {
    const guest = new FifoGuest()
    const port = guest.ipi()
    guest.send(port)
    guest.init(0)
    expect(guest.expand()).toBe(0)
    expect(guest.consume()).toEqual([port])
  })

  test('an event without a word is kept until its page comes', () => {
    const guest = new FifoGuest().init(0)
    const port = guest.ipi()
    guest.send(port)
    expect(guest.ready(0)).toBe(0)
    guest.expand()
    expect(guest.consume()).toEqual([port])
  })

  test('reset and death give all pages back and reset returns to the 2-level ABI', () => {
    const guest = new FifoGuest().init(3)
    expect(guest.host.held).toHaveLength(5)
    expect(guest.channels.reset(guest.id, DOMID.SELF, () => true)).toBe(0)
    expect([guest.host.held, guest.events.delivery.abi]).toEqual([[], '2-level'])
    guest.init(2)
    guest.channels.removeDomain(guest.id)
    expect(guest.host.held).toEqual([])
  })
})

describe('queues', () => {
  test('events come in the order in which they were raised, each once', () => {
    const guest = new FifoGuest().init()
    const ports = [guest.ipi(), guest.ipi(), guest.ipi()]
    for (const port of [ports[2]!, ports[0]!, ports[2]!, ports[1]!]) guest.send(port)
    expect(guest.host.takeWoken()).toEqual(['1.0'])
    expect(guest.consume()).toEqual([ports[2], ports[0], ports[1]])
    expect(guest.consume()).toEqual([])
  })

  test('a lower number goes first', () => {
    const guest = new FifoGuest().init()
    const [low, high, middle] = [guest.ipi(0, 15), guest.ipi(0, 0), guest.ipi(0, 7)]
    for (const port of [low, middle, high]) guest.send(port)
    expect(guest.ready(0)).toBe((1 << 15) | (1 << 7) | 1)
    expect(guest.consume()).toEqual([high, middle, low])
  })

  test('each vCPU has its own queues, and a moved port changes queue with its next event', () => {
    const guest = new FifoGuest().init()
    const port = guest.channels.allocUnbound(guest.id, DOMID.SELF, DOMID.SELF)
    const sender = guest.channels.bindInterdomain(guest.id, DOMID.SELF, port)
    guest.consume(0)
    guest.send(sender)
    expect(guest.channels.bindVcpu(guest.id, port, 1)).toBe(0)
    guest.send(sender)
    expect(guest.consume(1)).toEqual([])
    expect(guest.consume(0)).toEqual([port])
    guest.send(sender)
    expect([guest.consume(0), guest.consume(1)]).toEqual([[], [port]])
  })

  test('a changed priority holds for the next event', () => {
    const guest = new FifoGuest().init()
    const port = guest.ipi(0, 7)
    guest.send(port)
    guest.channels.setPriority(guest.id, port, 3)
    expect(guest.ready(0)).toBe(1 << 7)
    expect(guest.consume()).toEqual([port])
    guest.send(port)
    expect(guest.ready(0)).toBe(1 << 3)
    expect(guest.consume()).toEqual([port])
    expect(guest.channels.setPriority(guest.id, port, 16)).toBe(-ERRNO.EINVAL)
    expect(guest.channels.setPriority(guest.id, 9999, 1)).toBe(-ERRNO.EINVAL)
    expect(guest.channels.setPriority(guest.id, 50, 1)).toBe(-ERRNO.EACCES)
  })

  test('a masked event is pending and in no queue; unmasking puts it there', () => {
    const guest = new FifoGuest().init()
    const port = guest.ipi()
    guest.setWord(port, BIT.masked)
    guest.send(port)
    expect(guest.word(port)).toBe(BIT.masked | BIT.pending)
    expect(guest.host.takeWoken()).toEqual([])
    expect(guest.channels.unmask(guest.id, port)).toBe(0)
    expect(guest.consume()).toEqual([port])
  })

  test('a poll ends with the event, masked or not', () => {
    const guest = new FifoGuest().init()
    const port = guest.ipi()
    guest.setWord(port, BIT.masked)
    expect(guest.events.poll(1, [port])).toBe(1)
    guest.send(port)
    expect(guest.host.takeWoken()).toEqual(['1.1'])
  })

  test('a closed port that still hangs in a queue is not given out again before the guest has taken it off', () => {
    const guest = new FifoGuest().init()
    const port = guest.ipi()
    guest.send(port)
    guest.channels.close(guest.id, port)
    expect(guest.ipi()).toBe(port + 1)
    expect(guest.consume()).toEqual([])
    expect(guest.ipi()).toBe(port)
  })

  test('a vCPU without a control block loses its events, as in Xen', () => {
    const guest = new FifoGuest()
    guest.channels.initControl(guest.id, 0, guest.controlFrames[0]!, 64)
    guest.expand()
    const port = guest.ipi(1)
    guest.send(port)
    expect(guest.word(port)).toBe(0)
  })

  test('VIRQs and random traffic: no event is lost, none comes twice, priorities hold', () => {
    const guest = new FifoGuest().init(1)
    const random = new SeededRandom(5)
    const ports = Array.from({ length: 40 }, () => guest.ipi(below(random, 2), below(random, 16)))
    ports.push(guest.channels.bindVirq(guest.id, VIRQ.TIMER, 0))
    const pending = new Set<number>()
    for (let step = 0; step < 5000; step += 1) {
      const port = ports[below(random, ports.length)]!
      if (port === ports.at(-1)) guest.channels.raiseVirq(guest.id, VIRQ.TIMER, 0)
      else guest.send(port)
      pending.add(port)
      if (below(random, 4) !== 0) continue
      for (const vcpu of [0, 1]) {
        for (const handled of guest.consume(vcpu)) {
          expect(pending.delete(handled)).toBe(true)
          expect(guest.events.ports.get(handled)!.vcpu).toBe(vcpu)
        }
      }
      expect(pending.size).toBe(0)
    }
  })
})

describe('a hostile guest', () => {
  test('writes what it likes into its words and control blocks; only its own wake-ups suffer', () => {
    const guest = new FifoGuest().init(2)
    const random = new SeededRandom(9)
    const ports = Array.from({ length: 60 }, () => guest.ipi(below(random, 2), below(random, 16)))
    const page = (frame: number): Uint8Array => new Uint8Array(guest.host.memory.view.buffer, frame * PAGE, PAGE)
    const own = new Set([...guest.controlFrames, ...guest.arrayFrames, guest.sharedInfo / PAGE])
    const others = (): number => {
      let used = 0
      for (let frame = 0; frame < 512; frame += 1) {
        if (!own.has(frame)) used += page(frame).filter((byte) => byte !== 0).length
      }
      return used
    }
    expect(others()).toBe(0)
    for (let step = 0; step < 20_000; step += 1) {
      const frame = [...guest.controlFrames, ...guest.arrayFrames][below(random, 4)]!
      page(frame)[below(random, PAGE)] = random.next() & 0xff
      const port = ports[below(random, ports.length)]!
      switch (below(random, 5)) {
        case 0: guest.channels.send(guest.id, port); break
        case 1: guest.channels.unmask(guest.id, port); break
        case 2: guest.channels.setPriority(guest.id, port, below(random, 20)); break
        case 3: guest.channels.close(guest.id, port); break
        default: guest.channels.bindIpi(guest.id, below(random, 3))
      }
    }
    expect(others()).toBe(0)
  })
})

describe('saved state', () => {
  function busy() {
    const guest = new FifoGuest().init()
    const dom0 = guest.host.domain(0)
    const port = guest.channels.allocUnbound(guest.id, DOMID.SELF, 0)
    guest.channels.bindInterdomain(dom0.id, 1, port)
    guest.channels.bindVirq(guest.id, VIRQ.TIMER, 1)
    guest.channels.bindVirq(guest.id, VIRQ.DEBUGGER, 0)
    guest.send(guest.ipi(0, 2))
    guest.ipi(1, 2)
    guest.events.poll(1, [port])
    guest.channels.setVirqHandler(VIRQ.DOM_EXC, guest.id)
    return { guest, dom0 }
  }

  /** A second host with the same domains and the same memory. */
  function twin(guest: FifoGuest): EventHostDouble {
    const host = new EventHostDouble()
    new Uint8Array(host.memory.view.buffer).set(new Uint8Array(guest.host.memory.view.buffer))
    host.domain(1, { ...guest.events.domain, maxPort: 0x7fffffff, vcpuCount: 2, sharedInfo: guest.sharedInfo })
    host.domain(0, { sharedInfo: 20 * PAGE })
    return host
  }

  test('goes on where it was', () => {
    const { guest } = busy()
    const host = twin(guest)
    const state = structuredClone(guest.channels.save())
    expect(eventShape(state)).toBeUndefined()
    host.channels.load(state)
    expect(host.channels.save()).toEqual(state)
    expect(host.channels.of(guest.id)!.activeCount).toBe(guest.events.activeCount)
    expect(host.channels.bindVirq(guest.id, VIRQ.TIMER, 1)).toBe(-ERRNO.EEXIST)
    const actions = (h: EventHostDouble): unknown[] => [
      h.channels.send(guest.id, 5), h.channels.bindIpi(guest.id, 0), h.channels.close(guest.id, 1), h.channels.save(),
      Buffer.from(h.memory.view.buffer).subarray(0, 5 * PAGE).toString('base64'),
    ]
    expect(actions(host)).toEqual(actions(guest.host))
  })

  test.each<[string, (state: any) => void]>([
    ['a domain that does not exist', (s) => { s.domains[0].domid = 9 }],
    ['a domain twice', (s) => { s.domains.push(s.domains[0]) }],
    ['a port beyond the records', (s) => { s.domains[0].channels[0].port = 640 }],
    ['port 0', (s) => { s.domains[0].channels[0].port = 0 }],
    ['an unknown state', (s) => { s.domains[0].channels[0].state = 9 }],
    ['a vCPU that does not exist', (s) => { s.domains[0].channels[0].vcpu = 2 }],
    ['a peer that does not know it', (s) => { s.domains[1].channels[0].remotePort = 2 }],
    ['a VIRQ bound twice', (s) => { Object.assign(s.domains[0].channels[2], { virq: 0, vcpu: 1 }) }],
    ['a poll of a vCPU that does not exist', (s) => { s.domains[0].pollers[0][0] = 5 }],
    ['a tail beyond the array', (s) => { s.domains[0].fifo.vcpus[0].tails[3] = 1024 }],
    ['a control block outside memory', (s) => { s.domains[0].fifo.vcpus[0].controlBlock = 1e12 }],
    ['a control block across a page', (s) => { s.domains[0].fifo.vcpus[0].controlBlock = PAGE - 8 }],
    ['an array page outside memory', (s) => { s.domains[0].fifo.pages[0] = 512 }],
    ['a handler of a VIRQ of each vCPU', (s) => { s.virqHandlers[0][0] = 0 }],
  ])('with %s is refused and changes nothing', (_name, spoil) => {
    const { guest } = busy()
    const host = twin(guest)
    const before = JSON.stringify(host.channels.save())
    const state = JSON.parse(JSON.stringify(guest.channels.save())) as EventState
    spoil(state)
    const channels = part({ name: 'events', version: 1, shape: eventShape }, host.channels)
    expect(() => channels.load({ version: 1, state })).toThrowError(expect.objectContaining({ code: 'INVALID_STATE', message: expect.not.stringContaining('unknown') }))
    expect(JSON.stringify(host.channels.save())).toBe(before)
  })
})
