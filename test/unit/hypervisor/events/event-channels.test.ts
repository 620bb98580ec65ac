import { describe, expect, test } from 'vitest'
import { COMPAT, DOMID, ERRNO, EVTCHNSTAT, SharedInfo, VIRQ, VcpuInfo } from '../../../../src/abi/index.ts'
import { EventHostDouble } from '../../../support/event-host.ts'

type Two = ReturnType<typeof twoDomains>

function twoDomains() {
  const host = new EventHostDouble()
  const dom0 = host.domain(0)
  const domU = host.domain(1)
  return { host, channels: host.channels, dom0, domU }
}

/** A connected pair: the guest's port and dom0's. */
function connected() {
  const all = twoDomains()
  const guestPort = all.channels.allocUnbound(all.domU.id, DOMID.SELF, 0)
  const dom0Port = all.channels.bindInterdomain(all.dom0.id, 1, guestPort)
  all.host.clearPending(all.dom0.sharedInfo, dom0Port)
  all.host.takeUpcall(all.dom0.sharedInfo)
  all.host.takeWoken()
  return { ...all, guestPort, dom0Port }
}

describe('allocating and binding', () => {
  test('ports are given out from 1 upwards and the lowest free one comes next', () => {
    const { channels, domU } = twoDomains()
    expect([1, 2, 3].map(() => channels.allocUnbound(domU.id, DOMID.SELF, 0))).toEqual([1, 2, 3])
    expect(channels.close(domU.id, 2)).toBe(0)
    expect(channels.bindIpi(domU.id, 0)).toBe(2)
    expect(channels.bindIpi(domU.id, 0)).toBe(4)
  })

  test('a domain that may not act for another gets EPERM and no port; a privileged one gets a port there', () => {
    const { channels, dom0, domU, host } = twoDomains()
    const other = host.domain(2)
    expect(channels.allocUnbound(domU.id, other.id, 1)).toBe(-ERRNO.EPERM)
    expect(channels.allocUnbound(domU.id, 77, 1)).toBe(-ERRNO.ESRCH)
    expect(channels.allocUnbound(dom0.id, other.id, 0)).toBe(1)
    expect(other.events.activeCount).toBe(1)
  })

  test('binding connects both ends and tells the binder once to look', () => {
    const { host, channels, dom0, domU } = twoDomains()
    const guestPort = channels.allocUnbound(domU.id, DOMID.SELF, 0)
    expect(channels.send(domU.id, guestPort)).toBe(0)
    const dom0Port = channels.bindInterdomain(dom0.id, domU.id, guestPort)
    expect(host.takeWoken()).toEqual(['0.0'])
    expect(host.isPending(dom0.sharedInfo, dom0Port)).toBe(true)
    expect(host.isPending(domU.sharedInfo, guestPort)).toBe(false)
    expect(channels.status(dom0.id, DOMID.SELF, dom0Port)).toEqual({
      status: EVTCHNSTAT.interdomain, vcpu: 0, domid: 1, port: guestPort,
    })
    expect(channels.status(dom0.id, 1, guestPort)).toEqual({
      status: EVTCHNSTAT.interdomain, vcpu: 0, domid: 0, port: dom0Port,
    })
  })

  test.each([
    ['a port that waits for somebody else', (c: Two) => c.channels.allocUnbound(c.domU.id, DOMID.SELF, 2)],
    ['a free port', () => 9],
    ['a port without a record', () => 4000],
    ['port 0', () => 0],
    ['an IPI port', (c: Two) => c.channels.bindIpi(c.domU.id, 0)],
  ])('%s cannot be bound, and no port is lost in trying', (_name, remotePort) => {
    const all = twoDomains()
    const port = remotePort(all)
    expect(all.channels.bindInterdomain(all.dom0.id, 1, port)).toBe(-ERRNO.EINVAL)
    expect(all.dom0.events.activeCount).toBe(0)
    expect(all.channels.bindIpi(all.dom0.id, 0)).toBe(1)
  })

  test('a domain may be both ends of a channel', () => {
    const { channels, domU, host } = twoDomains()
    const first = channels.allocUnbound(domU.id, DOMID.SELF, DOMID.SELF)
    const second = channels.bindInterdomain(domU.id, DOMID.SELF, first)
    expect(second).toBe(2)
    expect(channels.send(domU.id, second)).toBe(0)
    expect(host.isPending(domU.sharedInfo, first)).toBe(true)
  })

  test('ports end where the domain or the ABI ends', () => {
    const host = new EventHostDouble()
    const small = host.domain(1, { maxPort: 3 })
    expect([1, 2, 3, 4].map(() => host.channels.bindIpi(small.id, 0))).toEqual([1, 2, 3, -ERRNO.ENOSPC])
    const large = host.domain(2, { maxPort: 0x7fffffff })
    let last = 0
    for (let i = 0; i < 4095; i += 1) last = host.channels.bindIpi(large.id, 0)
    expect(last).toBe(4095)
    expect(host.channels.bindIpi(large.id, 0)).toBe(-ERRNO.ENOSPC)
    const narrow = host.domain(3, { maxPort: 0x7fffffff, abi: COMPAT })
    for (let i = 0; i < 1023; i += 1) last = host.channels.bindIpi(narrow.id, 0)
    expect([last, host.channels.bindIpi(narrow.id, 0)]).toEqual([1023, -ERRNO.ENOSPC])
  })

  test('physical interrupts are refused', () => {
    expect(twoDomains().channels.bindPirq()).toBe(-ERRNO.EINVAL)
  })
})

describe('VIRQs and IPIs', () => {
  test.each([
    [VIRQ.TIMER, 0, 1], [VIRQ.TIMER, 1, 1], [VIRQ.DEBUG, 1, 1], [VIRQ.XENPMU, 1, 1], [VIRQ.CONSOLE, 0, 1],
    [VIRQ.CONSOLE, 1, -ERRNO.EINVAL], [VIRQ.TIMER, 2, -ERRNO.ENOENT], [24, 0, -ERRNO.EINVAL],
    [0xffffffff, 0, -ERRNO.EINVAL], [VIRQ.DOM_EXC, 5, -ERRNO.EINVAL],
  ])('VIRQ %i on vCPU %i gives %i', (virq, vcpu, expected) => {
    const { channels, domU } = twoDomains()
    expect(channels.bindVirq(domU.id, virq, vcpu)).toBe(expected)
  })

  test('a VIRQ is bound once for each vCPU, and again after it was closed', () => {
    const { channels, domU } = twoDomains()
    const port = channels.bindVirq(domU.id, VIRQ.TIMER, 0)
    expect(channels.bindVirq(domU.id, VIRQ.TIMER, 0)).toBe(-ERRNO.EEXIST)
    expect(channels.bindVirq(domU.id, VIRQ.TIMER, 1)).toBe(2)
    expect(channels.close(domU.id, port)).toBe(0)
    expect(channels.bindVirq(domU.id, VIRQ.TIMER, 0)).toBe(port)
  })

  test('a raised VIRQ reaches the vCPU that bound it; an unbound one is lost', () => {
    const { host, channels, domU } = twoDomains()
    channels.raiseVirq(domU.id, VIRQ.TIMER, 1)
    expect(host.takeWoken()).toEqual([])
    const port = channels.bindVirq(domU.id, VIRQ.TIMER, 1)
    channels.raiseVirq(domU.id, VIRQ.TIMER, 1)
    expect(host.takeWoken()).toEqual(['1.1'])
    expect(host.isPending(domU.sharedInfo, port)).toBe(true)
  })

  test('a global VIRQ follows its port to another vCPU, and closing it then frees it', () => {
    const { host, channels, domU } = twoDomains()
    const port = channels.bindVirq(domU.id, VIRQ.DEBUGGER, 0)
    expect(channels.bindVcpu(domU.id, port, 1)).toBe(0)
    channels.raiseVirq(domU.id, VIRQ.DEBUGGER)
    expect(host.takeWoken()).toEqual(['1.1'])
    expect(channels.close(domU.id, port)).toBe(0)
    expect(channels.bindVirq(domU.id, VIRQ.DEBUGGER, 0)).toBe(port)
  })

  test('a VIRQ of the host goes to dom0 or to the domain that was named for it', () => {
    const { host, channels, dom0, domU } = twoDomains()
    channels.bindVirq(dom0.id, VIRQ.DOM_EXC, 0)
    channels.bindVirq(domU.id, VIRQ.DOM_EXC, 0)
    channels.raiseGlobalVirq(VIRQ.DOM_EXC, dom0.id)
    expect(host.takeWoken()).toEqual(['0.0'])
    expect(channels.setVirqHandler(VIRQ.DOM_EXC, domU.id)).toBe(0)
    expect(channels.setVirqHandler(VIRQ.TIMER, domU.id)).toBe(-ERRNO.EINVAL)
    channels.raiseGlobalVirq(VIRQ.DOM_EXC, dom0.id)
    expect(host.takeWoken()).toEqual(['1.0'])
    channels.closeDomain(domU.id)
    host.takeUpcall(dom0.sharedInfo)
    host.clearPending(dom0.sharedInfo, 1)
    channels.raiseGlobalVirq(VIRQ.DOM_EXC, dom0.id)
    expect(host.takeWoken()).toEqual(['0.0'])
  })

  test('an IPI goes to its vCPU and nowhere else', () => {
    const { host, channels, domU } = twoDomains()
    const port = channels.bindIpi(domU.id, 1)
    expect(channels.bindIpi(domU.id, 2)).toBe(-ERRNO.ENOENT)
    expect(channels.send(domU.id, port)).toBe(0)
    expect(host.takeWoken()).toEqual(['1.1'])
    expect(channels.bindVcpu(domU.id, port, 0)).toBe(-ERRNO.EINVAL)
    expect(channels.status(domU.id, DOMID.SELF, port)).toEqual({ status: EVTCHNSTAT.ipi, vcpu: 1 })
  })
})

describe('sending through the 2-level ABI', () => {
  test('an event sets the pending bit, the selector and the upcall flag, and wakes the vCPU once', () => {
    const { host, channels, domU, guestPort, dom0Port, dom0 } = connected()
    expect(channels.send(dom0.id, dom0Port)).toBe(0)
    expect(channels.send(dom0.id, dom0Port)).toBe(0)
    expect(host.takeWoken()).toEqual(['1.0'])
    expect(host.isPending(domU.sharedInfo, guestPort)).toBe(true)
    expect(host.takeUpcall(domU.sharedInfo)).toEqual({ pending: true, selector: 1n << BigInt(guestPort >> 6) })
  })

  test('a masked port becomes pending silently, and unmasking delivers it', () => {
    const { host, channels, domU, dom0, guestPort, dom0Port } = connected()
    host.mask(domU.sharedInfo, guestPort)
    channels.send(dom0.id, dom0Port)
    expect(host.takeWoken()).toEqual([])
    expect(host.takeUpcall(domU.sharedInfo).pending).toBe(false)
    expect(channels.unmask(domU.id, guestPort)).toBe(0)
    expect(host.takeWoken()).toEqual(['1.0'])
    expect(channels.unmask(domU.id, guestPort)).toBe(0)
    expect(host.takeWoken()).toEqual([])
  })

  test('a port above 64 sets the selector bit of its word', () => {
    const { host, channels, domU } = twoDomains()
    for (let i = 0; i < 129; i += 1) channels.bindIpi(domU.id, 1)
    channels.send(domU.id, 129)
    expect(host.takeUpcall(domU.sharedInfo, 1)).toEqual({ pending: true, selector: 1n << 2n })
  })

  test('a 32-bit guest has 32 ports to a word', () => {
    const host = new EventHostDouble()
    const domU = host.domain(1, { abi: COMPAT })
    for (let i = 0; i < 70; i += 1) host.channels.bindIpi(domU.id, 0)
    host.channels.send(domU.id, 70)
    expect(host.memory.view.getUint32(domU.sharedInfo + 4, true)).toBe(1 << 2)
    expect(host.memory.view.getUint32(domU.sharedInfo + 2048 + 8, true)).toBe(1 << 6)
  })

  test.each([0, 9, 5000, 0xffffffff])('sending to port %i, which is not open, is EINVAL', (port) => {
    const { channels, domU } = twoDomains()
    expect(channels.send(domU.id, port)).toBe(-ERRNO.EINVAL)
    expect(channels.close(domU.id, port)).toBe(-ERRNO.EINVAL)
  })

  test('a VIRQ port cannot be sent to', () => {
    const { channels, domU } = twoDomains()
    expect(channels.send(domU.id, channels.bindVirq(domU.id, VIRQ.TIMER, 0))).toBe(-ERRNO.EINVAL)
  })

  test('a vCPU needs an upcall while one is pending and not masked', () => {
    const { channels, dom0, domU, dom0Port, host } = connected()
    const info = SharedInfo.vcpuInfo.at(domU.sharedInfo, 0)
    channels.send(dom0.id, dom0Port)
    expect(domU.events.needsUpcall(0)).toBe(true)
    VcpuInfo.evtchnUpcallMask.set(host.memory.view, info, 1)
    expect(domU.events.needsUpcall(0)).toBe(false)
  })

  test('a vCPU without vcpu_info loses nothing: when it gets one, all words are marked', () => {
    const host = new EventHostDouble()
    const domU = host.domain(1, { vcpuInfo: (vcpu) => (vcpu === 0 ? -1 : 4096) })
    const port = host.channels.bindIpi(domU.id, 0)
    expect(host.channels.send(domU.id, port)).toBe(0)
    expect(host.takeWoken()).toEqual([])
    domU.events.remarkAll(1)
    expect(host.takeWoken()).toEqual(['1.1'])
    expect(VcpuInfo.evtchnPendingSel.get(host.memory.view, 4096)).toBe(0xffff_ffff_ffff_ffffn)
  })
})

describe('closing', () => {
  test('the peer of a closed port waits again, for the same domain, and can be bound again', () => {
    const { channels, dom0, domU, guestPort, dom0Port } = connected()
    expect(channels.close(dom0.id, dom0Port)).toBe(0)
    expect(channels.status(domU.id, DOMID.SELF, guestPort)).toEqual({ status: EVTCHNSTAT.unbound, vcpu: 0, domid: 0 })
    expect(channels.bindInterdomain(dom0.id, 1, guestPort)).toBe(dom0Port)
  })

  test('a pending bit goes with the port', () => {
    const { host, channels, dom0, domU, guestPort, dom0Port } = connected()
    channels.send(dom0.id, dom0Port)
    channels.close(domU.id, guestPort)
    expect(host.isPending(domU.sharedInfo, guestPort)).toBe(false)
  })

  test('a dying domain loses all ports, gets none, and its peers wait', () => {
    const { channels, dom0, domU, dom0Port } = connected()
    channels.bindVirq(domU.id, VIRQ.TIMER, 0)
    channels.closeDomain(domU.id)
    expect(domU.events.activeCount).toBe(0)
    expect(channels.bindIpi(domU.id, 0)).toBe(-ERRNO.EINVAL)
    expect(channels.allocUnbound(dom0.id, 1, 0)).toBe(-ERRNO.EINVAL)
    expect(channels.status(dom0.id, DOMID.SELF, dom0Port)).toEqual({ status: EVTCHNSTAT.unbound, vcpu: 0, domid: 1 })
    expect(channels.send(dom0.id, dom0Port)).toBe(0)
    channels.removeDomain(domU.id)
    expect(channels.allocUnbound(dom0.id, 1, 0)).toBe(-ERRNO.ESRCH)
  })

  test('reset closes everything; of another domain only when it is paused and one may act for it', () => {
    const { channels, dom0, domU, guestPort } = connected()
    expect(channels.reset(domU.id, 0, () => true)).toBe(-ERRNO.EPERM)
    expect(channels.reset(dom0.id, 1, () => false)).toBe(-ERRNO.EINVAL)
    expect(channels.reset(dom0.id, 9, () => true)).toBe(-ERRNO.ESRCH)
    expect(domU.events.activeCount).toBe(1)
    expect(channels.reset(dom0.id, 1, () => true)).toBe(0)
    expect(channels.status(domU.id, DOMID.SELF, guestPort)).toEqual({ status: EVTCHNSTAT.closed, vcpu: 0 })
  })
})

describe('moving and asking', () => {
  test('bind_vcpu moves where events go', () => {
    const { host, channels, dom0, domU, guestPort, dom0Port } = connected()
    expect(channels.bindVcpu(domU.id, guestPort, 1)).toBe(0)
    channels.send(dom0.id, dom0Port)
    expect(host.takeWoken()).toEqual(['1.1'])
    expect(channels.bindVcpu(domU.id, guestPort, 2)).toBe(-ERRNO.ENOENT)
    expect(channels.bindVcpu(domU.id, 900, 1)).toBe(-ERRNO.EINVAL)
    expect(channels.bindVcpu(domU.id, channels.bindVirq(domU.id, VIRQ.TIMER, 0), 1)).toBe(-ERRNO.EINVAL)
  })

  test('status tells a port without a record from a closed one, and strangers nothing', () => {
    const { channels, dom0, domU } = twoDomains()
    expect(channels.status(domU.id, DOMID.SELF, 63)).toEqual({ status: EVTCHNSTAT.closed, vcpu: 0 })
    expect(channels.status(domU.id, DOMID.SELF, 64)).toBe(-ERRNO.EINVAL)
    expect(channels.status(domU.id, dom0.id, 1)).toBe(-ERRNO.EPERM)
    expect(channels.status(domU.id, 5, 1)).toBe(-ERRNO.ESRCH)
    const port = channels.bindVirq(domU.id, VIRQ.TIMER, 1)
    expect(channels.status(dom0.id, 1, port)).toEqual({ status: EVTCHNSTAT.virq, vcpu: 1, virq: 0 })
  })

  test('priorities need the FIFO ABI', () => {
    const { channels, domU } = twoDomains()
    const port = channels.bindIpi(domU.id, 0)
    expect(channels.setPriority(domU.id, port, 3)).toBe(-ERRNO.ENOSYS)
    expect(channels.expandArray(domU.id, 5)).toBe(-ERRNO.EOPNOTSUPP)
  })
})

describe('polling', () => {
  test('a poll ends when its port becomes pending, masked or not, and not for others', () => {
    const { host, channels, domU, dom0, guestPort, dom0Port } = connected()
    const ipi = channels.bindIpi(domU.id, 0)
    host.mask(domU.sharedInfo, guestPort)
    host.mask(domU.sharedInfo, ipi)
    expect(domU.events.poll(1, [guestPort])).toBe(1)
    channels.send(domU.id, ipi)
    expect(host.takeWoken()).toEqual([])
    channels.send(dom0.id, dom0Port)
    expect(host.takeWoken()).toEqual(['1.1'])
    expect(domU.events.endPoll(1)).toBe(false)
  })

  test('a poll for several ports ends with any event', () => {
    const { host, channels, domU, guestPort } = connected()
    const ipi = channels.bindIpi(domU.id, 0)
    host.mask(domU.sharedInfo, ipi)
    expect(domU.events.poll(1, [guestPort, 2])).toBe(1)
    channels.send(domU.id, ipi)
    expect(host.takeWoken()).toEqual(['1.1'])
  })

  test('a poll does not start while its port or an upcall is pending, or for a port that is not valid', () => {
    const { channels, domU, dom0, guestPort, dom0Port } = connected()
    expect(domU.events.poll(0, [4000])).toBe(-ERRNO.EINVAL)
    channels.send(dom0.id, dom0Port)
    expect(domU.events.poll(1, [guestPort])).toBe(0)
    expect(domU.events.poll(0, [])).toBe(0)
    expect(domU.events.poll(1, [])).toBe(1)
    expect(domU.events.endPoll(1)).toBe(true)
  })
})
