/** domctl and sysctl, called by a privileged domain: what tools need, and what they are refused. */
import { beforeEach, describe, expect, test } from 'vitest'
import {
  DOMCTL, DOMINF, DomctlAddressSize, DomctlCreatedomain, DomctlGetdomaininfo, DomctlGetvcpuinfo, DomctlIoportPermission, DomctlMaxMem, DomctlMaxVcpus, DomctlSchedulerOp,
  DomctlTscInfo, DomctlVcpuaffinity, ERRNO, HVMOP, HVM_PARAM, HYPERVISOR, SCHEDULER, SYSCTL, SysctlCpupoolOp, SysctlGetdomaininfolist, SysctlPhysinfo, SysctlReadconsole, SysctlSchedId, XENMEM,
  XenHvmParam, XenMemAcquireResource, XenMemoryReservation,
} from '../../../../src/abi/index.ts'
import { SeededRandom, type DomId, type Mfn } from '../../../../src/util/index.ts'
import { MachineHost, SOURCE } from '../../../support/machine-host.ts'
import { type DomctlName, type SysctlName, ToolDomain } from '../../../support/tool-domain.ts'

let host: MachineHost
let tools: ToolDomain

beforeEach(() => {
  host = new MachineHost(SOURCE, { physicalCpus: 2, memoryBytes: 32 << 20 })
  tools = new ToolDomain(host.hypervisor, host.machine.memory)
})

const WISHES = {
  ssidref: 0xc, handle: Uint8Array.from({ length: 16 }, (_, i) => i), flags: 0, iommuOpts: 0, maxVcpus: 2, maxEvtchnPort: 0x3ff, maxGrantFrames: -1,
  maxMaptrackFrames: -1, grantOpts: 2, vmtraceSize: 0, cpupoolId: 0, emulationFlags: 0, miscFlags: 0,
}

/** Which ports of the calendar clock a domain has, as it is saved. */
function clockPorts(domid: number): number {
  const { domains } = host.hypervisor.save().parts as unknown as { readonly domains: { readonly parts: Readonly<Record<string, { readonly state: { readonly tools: { readonly clockPorts: number } } }>> } }
  return domains.parts[`domain-${domid}`]!.state.tools.clockPorts
}

/** createdomain with some wishes: its number, or an error. */
function create(changes: Partial<typeof WISHES> = {}, domid = 0xffff): number {
  const { result } = tools.domctl('createdomain', domid, (view, at) => DomctlCreatedomain.encode(view, at, { ...WISHES, ...changes }))
  return result === 0 ? tools.toldDomain : result
}

const info = (domid: number) => tools.domctl('getdomaininfo', domid).argument(DomctlGetdomaininfo)
const { EACCES, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM, ESRCH } = ERRNO

describe('the life of a domain', () => {
  test('begins paused, without vCPUs and memory, and a PV domain has no out-of-sync shadows', () => {
    const domid = create()
    expect(domid).toBe(1)
    expect(tools.domctl('getdomaininfo', domid).argument(DomctlGetdomaininfo)).toMatchObject({
      domain: 1, flags: 0xffff_0008, totPages: 0n, maxPages: 0n, nrOnlineVcpus: 0, maxVcpuId: 0xffff_ffff, cpupool: 0, handle: WISHES.handle,
    })
    create()
    const told = tools.domctl('createdomain', 0, (view, at) => DomctlCreatedomain.encode(view, at, WISHES))
    expect([told.argument(DomctlCreatedomain).flags, tools.toldDomain]).toEqual([8, 3])
  })

  test('goes on as tools make it: vCPUs, memory, a width', () => {
    const domid = create()
    const result = [
      tools.domctl('getvcpuinfo', domid).result,
      tools.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 3)).result,
      tools.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 2)).result,
      tools.domctl('max_mem', domid, (view, at) => DomctlMaxMem.maxMemkb.setNumber(view, at, 0x20400)).result,
      tools.domctl('set_address_size', domid, (view, at) => DomctlAddressSize.bits.set(view, at, 64)).result,
      tools.domctl('settscinfo', domid).result,
      tools.domctl('unpausedomain', domid).result, tools.domctl('unpausedomain', domid).result, tools.domctl('pausedomain', domid).result,
    ]
    expect(result).toEqual([-ESRCH, -EINVAL, 0, 0, 0, 0, 0, -EINVAL, 0])
    expect(info(domid)).toMatchObject({ maxPages: 0x8100n, maxVcpuId: 1, flags: 0xffff_0008 })
    expect(tools.domctl('getvcpuinfo', domid).argument(DomctlGetvcpuinfo)).toMatchObject({ online: 0, blocked: 0, running: 0, cpuTime: 0n })
    expect(tools.domctl('gettscinfo', domid).argument(DomctlTscInfo)).toMatchObject({ tscMode: 0, incarnation: 1, gtscKhz: 1_000_000 })
    expect(tools.domctl('get_address_size', domid).argument(DomctlAddressSize).bits).toBe(64)
  })

  test('of a 32-bit kernel, as long as it has no memory', () => {
    const domid = create()
    const width = (bits: number): number => tools.domctl('set_address_size', domid, (view, at) => DomctlAddressSize.bits.set(view, at, bits)).result
    expect([width(32), width(64), width(31)]).toEqual([0, -EINVAL, -EINVAL])
    expect(tools.domctl('get_address_size', domid).argument(DomctlAddressSize).bits).toBe(32)
    expect(host.hypervisor.domainInfo(domid as DomId)).toMatchObject({ kind: 'pv32', addressSize: 32 })
    const late = create()
    host.hypervisor.setMaxPages(late as DomId, 4)
    host.hypervisor.populatePhysmap(late as DomId, 4)
    expect(tools.domctl('set_address_size', late, (view, at) => DomctlAddressSize.bits.set(view, at, 32)).result).toBe(-EACCES)
  })

  test('ends, and nothing of it is left', () => {
    const free = host.hypervisor.hostInfo().freeFrames
    const domid = create()
    expect(tools.domctl('destroydomain', domid).result).toBe(0)
    expect(tools.domctl('pausedomain', domid).result).toBe(-ESRCH)
    expect(host.hypervisor.hostInfo().freeFrames).toBe(free)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test.each<[string, Partial<typeof WISHES>, number]>([
    ['flags that there are not', { flags: 0x100 }, -EINVAL], ['HAP without HVM', { flags: 2 }, -EINVAL], ['an IOMMU', { flags: 0x20 }, -EINVAL],
    ['no vCPU', { maxVcpus: 0 }, -EINVAL], ['too many', { maxVcpus: 9999 }, -EINVAL], ['grants of version 0', { grantOpts: 0 }, -EINVAL],
    ['grants of version 3', { grantOpts: 3 }, -EINVAL], ['no grant frame', { maxGrantFrames: 0 }, -EINVAL], ['too many', { maxGrantFrames: 65 }, -EINVAL],
    ['traces', { vmtraceSize: 4096 }, -EINVAL], ['a pool that there is not', { cpupoolId: 7 }, -ESRCH],
    ['devices of HVM guests', { flags: 3, emulationFlags: 0x3ff }, -EOPNOTSUPP], ['a PIC without HVM', { emulationFlags: 0x20 }, -EOPNOTSUPP],
  ])('is refused with %s, and nothing is kept', (_name, changes, error) => {
    const before = host.hypervisor.listDomains().length
    expect(create(changes)).toBe(error)
    expect(host.hypervisor.listDomains().length).toBe(before)
  })

  test('has the number that is asked for, once', () => {
    expect([create({}, 77), create({}, 77)]).toEqual([77, -EEXIST])
  })
})

describe('who is asked about', () => {
  test('getdomaininfo answers with the next domain that there is', () => {
    const domid = create({}, 40)
    expect(tools.domctl('getdomaininfo', 3).argument(DomctlGetdomaininfo).domain).toBe(domid)
    expect([tools.toldDomain, tools.domctl('getdomaininfo', 41).result, tools.domctl('getdomaininfo', 0x7ff0).result]).toEqual([40, -ESRCH, -EINVAL])
  })

  test('a list has as many as there is room for', () => {
    create()
    const list = (first: number, most: number): number => tools.sysctl('getdomaininfolist', (view, at) => SysctlGetdomaininfolist.encode(view, at, {
      firstDomain: first, maxDomains: most, buffer: BigInt(tools.buffer()),
    })).argument(SysctlGetdomaininfolist).numDomains
    expect([list(0, 1024), list(0, 1), list(1, 1024), list(2, 1024)]).toEqual([2, 1, 1, 0])
    expect(list(0, 2)).toBe(2)
    expect(DomctlGetdomaininfo.decode(tools.view, tools.buffer() + DomctlGetdomaininfo.size).domain).toBe(1)
  })

  test.each<[string, () => number, number]>([
    ['another version', () => tools.domctl('pausedomain', 0, undefined, 0x14).result, -EACCES],
    ['another version of sysctl', () => tools.sysctl('physinfo', undefined, 0x14).result, -EACCES],
    ['a domain that there is not', () => tools.domctl('pausedomain', 99).result, -ESRCH],
    ['SELF', () => tools.domctl('pausedomain', 0x7ff0).result, -ESRCH],
    ['oneself', () => tools.domctl('pausedomain', tools.domid).result, -EINVAL],
    ['a structure that is not there', () => tools.call('domctl', 0x7000_0000), -ERRNO.EFAULT],
    ['a structure of another domain', () => tools.call('domctl', new ToolDomain(host.hypervisor, host.machine.memory).buffer()), -ERRNO.EFAULT],
  ])('%s is refused', (_name, ask, error) => expect(ask()).toBe(error))

  test('an unprivileged domain is refused, but for what it gets wrong', () => {
    const guest = new ToolDomain(host.hypervisor, host.machine.memory, { privileged: false })
    expect([
      guest.domctl('pausedomain', 0).result, guest.domctl('getdomaininfo', guest.domid).result, guest.domctl('createdomain', 0xffff).result,
      guest.sysctl('physinfo').result, guest.domctl('pausedomain', 99).result, guest.domctl('pausedomain', 0, undefined, 1).result,
    ]).toEqual([-EPERM, -EPERM, -EPERM, -EPERM, -ESRCH, -EACCES])
  })
})

describe('CPUs', () => {
  test('a vCPU is pinned, and told what that comes to', () => {
    const domid = create()
    tools.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 2))
    const bitmap = (index: number) => ({ bitmap: BigInt(tools.buffer(index)), nrBits: 8 })
    const ask = (name: 'setvcpuaffinity' | 'getvcpuaffinity', vcpu: number, flags: number): number => tools.domctl(name, domid, (view, at) => {
      DomctlVcpuaffinity.encode(view, at, { vcpu, flags, cpumapHard: bitmap(1), cpumapSoft: bitmap(2) })
    }).result
    tools.bufferBytes(1, 1)[0] = 2
    tools.bufferBytes(2, 1)[0] = 0xff
    expect([ask('setvcpuaffinity', 1, 3), ask('setvcpuaffinity', 9, 1), ask('setvcpuaffinity', 0, 0), ask('setvcpuaffinity', 0, 8)]).toEqual([0, -EINVAL, -EINVAL, -EINVAL])
    expect([tools.bufferBytes(1, 1)[0], tools.bufferBytes(2, 1)[0]]).toEqual([2, 2])
    expect(ask('getvcpuaffinity', 1, 3)).toBe(0)
    expect([tools.bufferBytes(1, 1)[0], tools.bufferBytes(2, 1)[0]]).toEqual([2, 3])
    tools.bufferBytes(1, 1)[0] = 0
    expect(ask('setvcpuaffinity', 1, 1)).toBe(-EINVAL)
  })

  test('weights and caps are set and told', () => {
    const domid = create()
    const ask = (schedId: number, cmd: number, weight = 0, cap = 0) => tools.domctl('scheduler_op', domid, (view, at) => DomctlSchedulerOp.encode(view, at, { schedId, cmd, weight, cap }))
    expect(ask(SCHEDULER.CREDIT2, 1).argument(DomctlSchedulerOp)).toMatchObject({ weight: 256, cap: 0 })
    expect([ask(SCHEDULER.CREDIT2, 0, 512).result, ask(SCHEDULER.CREDIT, 0, 512).result, ask(SCHEDULER.CREDIT2, 2).result, ask(SCHEDULER.CREDIT2, 9).result]).toEqual([0, -EINVAL, -EINVAL, -EINVAL])
    expect(ask(SCHEDULER.CREDIT2, 1).argument(DomctlSchedulerOp).weight).toBe(512)
  })

  test('pools are told one after another', () => {
    const ask = (op: number, cpupoolId: number, schedId = 0) => tools.sysctl('cpupool_op', (view, at) => SysctlCpupoolOp.encode(view, at, {
      op, cpupoolId, schedId, cpumap: { bitmap: BigInt(tools.buffer()), nrBits: 8 },
    }))
    expect(ask(3, 0).argument(SysctlCpupoolOp)).toMatchObject({ cpupoolId: 0, schedId: 6, nDom: 1 })
    expect(tools.bufferBytes(1, 1)[0]).toBe(3)
    expect([ask(3, 1).result, ask(1, 0xffff_ffff, 5).argument(SysctlCpupoolOp).cpupoolId, ask(3, 1).argument(SysctlCpupoolOp).schedId, ask(2, 1).result, ask(2, 1).result]).toEqual([-ENOENT, 1, 5, 0, -ENOENT])
    expect(tools.sysctl('sched_id').argument(SysctlSchedId).schedId).toBe(6)
  })

  test('the host is told as it is', () => {
    const { freeFrames } = host.hypervisor.hostInfo()
    expect(tools.sysctl('physinfo').argument(SysctlPhysinfo)).toMatchObject({
      threadsPerCore: 1, coresPerSocket: 2, nrCpus: 2, maxCpuId: 1, nrNodes: 1, maxNodeId: 63, capabilities: 0x30b, freePages: BigInt(freeFrames),
    })
  })
})

test('the console is read in pieces, and on from where one has stopped', () => {
  host.hypervisor.log(['one'])
  const read = (count: number, index: number) => {
    const { count: length, index: next } = tools.sysctl('readconsole', (view, at) => SysctlReadconsole.encode(view, at, {
      clear: 0, incremental: 1, index, buffer: BigInt(tools.buffer()), count,
    })).argument(SysctlReadconsole)
    return { text: String.fromCharCode(...tools.bufferBytes(1, length)), next }
  }
  const first = read(4, 0)
  expect(first.text).toBe('(XEN')
  const rest = read(4096, first.next)
  expect(rest.text).toBe(') one\n')
  host.hypervisor.log(['two'])
  expect(read(4096, rest.next).text).toBe('(XEN) two\n')
})

test('whoever watches hypercalls is told the operation, not where its structure lies', () => {
  const seen: number[][] = []
  host.hypervisor.events.on('hypercall', ({ number, sub, result }) => seen.push([number, sub, result]))
  tools.domctl('pausedomain', 99)
  tools.sysctl('sched_id')
  expect(seen).toEqual([[HYPERVISOR.domctl, DOMCTL.pausedomain, -ESRCH], [HYPERVISOR.sysctl, SYSCTL.sched_id, 0]])
})

test('a policy gives a domain one operation, and takes one from dom0', () => {
  const asked: string[] = []
  const own = new MachineHost(SOURCE, { memoryBytes: 32 << 20, policy: { name: 'own', privilege: (operation, caller) => {
    asked.push(operation)
    return operation === (caller.privileged ? 'sysctl.physinfo' : 'domctl.pausedomain')
  } } })
  const dom0 = new ToolDomain(own.hypervisor, own.machine.memory)
  const guest = new ToolDomain(own.hypervisor, own.machine.memory, { privileged: false })
  expect([dom0.sysctl('physinfo').result, dom0.domctl('pausedomain', guest.domid).result, guest.domctl('pausedomain', dom0.domid).result, guest.domctl('unpausedomain', dom0.domid).result])
    .toEqual([0, -EPERM, 0, -EPERM])
  expect(asked).toEqual(['sysctl.physinfo', 'domctl.pausedomain', 'domctl.pausedomain', 'domctl.unpausedomain'])
  expect(own.hypervisor.hostInfo().access).toMatchObject({ enforcing: true, denials: 2 })
})

describe('on behalf of others', () => {
  /** A memory_op on a structure in the second buffer. */
  const memoryOp = (command: number, fill: (view: DataView, at: number) => void): number => {
    tools.bytes.fill(0, tools.buffer(2), tools.buffer(2) + 64)
    fill(tools.view, tools.buffer(2))
    return tools.call('memory_op', command, tools.buffer(2))
  }

  test('a new domain has no frame number above 0, of whichever kind', () => {
    const domains = [create(), create({ flags: 3, emulationFlags: 1 })]
    expect(domains.map((domid) => memoryOp(XENMEM.maximum_gpfn, (view, at) => view.setUint16(at, domid, true)))).toEqual([0, 0])
    expect(domains.map((domid) => info(domid).flags & (DOMINF.hvm_guest | DOMINF.hap))).toEqual([0, DOMINF.hvm_guest | DOMINF.hap])
  })

  test('frames of a grant table are told, as many as there may be', () => {
    const domid = create()
    const ask = (changes: Partial<Parameters<typeof XenMemAcquireResource.encode>[2]>): number => memoryOp(XENMEM.acquire_resource, (view, at) => {
      XenMemAcquireResource.encode(view, at, { domid, type: 1, id: 0, nrFrames: 1, pad: 0, frame: 0n, frameList: BigInt(tools.buffer(3)), ...changes })
    })
    expect(ask({})).toBe(0)
    const frame = tools.view.getUint32(tools.buffer(3), true)
    expect(host.hypervisor.frameInfo(frame as Mfn).owner).toBe(domid)
    expect([ask({ frameList: 0n, nrFrames: 0 }), XenMemAcquireResource.nrFrames.get(tools.view, tools.buffer(2))]).toEqual([0, 64])
    expect([
      ask({ type: 9 }), ask({ id: 1 }), ask({ pad: 1 }), ask({ frame: 64n }), ask({ frame: 2n ** 32n }), ask({ domid: tools.domid }), ask({ domid: 99 }), ask({ frameList: 0n }),
      ask({ frameList: 0x7000_0000n }),
    ]).toEqual([-EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EPERM, -ESRCH, -EINVAL, -ERRNO.EFAULT])
  })

  test('parameters of a translated domain are set and told, and not of another', () => {
    const [own, other] = [create({ flags: 3, emulationFlags: 1 }), create()]
    const ask = (op: number, domid: number, index: number): number => {
      XenHvmParam.encode(tools.view, tools.buffer(2), { domid, index, value: 0x1234n })
      return tools.call('hvm_op', op, tools.buffer(2))
    }
    expect([ask(HVMOP.set_param, own, HVM_PARAM.STORE_PFN), ask(HVMOP.get_param, own, HVM_PARAM.STORE_PFN)]).toEqual([0, 0])
    expect(XenHvmParam.value.get(tools.view, tools.buffer(2))).toBe(0x1234n)
    expect([ask(HVMOP.set_param, other, 1), ask(HVMOP.set_param, 99, 1), ask(HVMOP.set_param, own, 999)]).toEqual([-EINVAL, -ESRCH, -EINVAL])
  })

  test('nothing is left of fifty domains that were made and ended', () => {
    const free = host.hypervisor.hostInfo().freeFrames
    for (let round = 0; round < 50; round += 1) {
      const domid = create({ flags: round % 2 === 0 ? 0 : 3, emulationFlags: round % 2 })
      tools.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 2))
      tools.domctl('max_mem', domid, (view, at) => DomctlMaxMem.maxMemkb.setNumber(view, at, 1024))
      for (let i = 0; i < 64; i += 1) tools.view.setBigUint64(tools.buffer(3) + i * 8, BigInt(i), true)
      const populated = memoryOp(XENMEM.populate_physmap, (view, at) => XenMemoryReservation.encode(view, at, { extentStart: BigInt(tools.buffer(3)), nrExtents: 64n, extentOrder: 0, memFlags: 0, domid }))
      expect([populated, tools.domctl('destroydomain', domid).result]).toEqual([64, 0])
    }
    expect(host.hypervisor.hostInfo().freeFrames).toBe(free)
    expect(host.problems()).toEqual([])
  })
})

describe('hostile arguments', () => {
  const WORDS = [0, 1, 3, 0x7f, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]

  test('give Xen\'s errors or an answer, and leave a host that adds up', () => {
    const random = new SeededRandom(18)
    const errors = new Set(Object.values(ERRNO).map((error) => -error))
    const domid = create()
    tools.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 2))
    host.hypervisor.setMaxPages(domid as DomId, 64)
    host.hypervisor.populatePhysmap(domid as DomId, 32, 0)
    // Handles in a buffer, at its end, in another domain's memory, in none, in the hypervisor's, and no address at all.
    const handles = [tools.buffer(1), tools.buffer(1) + 4090, host.hypervisor.domainFrames(domid as DomId)[3]! * 4096, 0x7000_0000, 4096, 0xffff_f000]
    const word = (): number => (random.next() % 3 === 0 ? handles[random.next() % handles.length]! : WORDS[random.next() % WORDS.length]!)
    const names = (Object.keys(DOMCTL) as DomctlName[]).filter((name) => name !== 'destroydomain' && name !== 'createdomain')
    for (let round = 0; round < 3000; round += 1) {
      const fill = (view: DataView, at: number): void => { for (let i = 0; i < 10; i += 1) view.setUint32(at + i * 4, word(), true) }
      const name = names[random.next() % names.length]!
      const target = [domid, domid, tools.domid, 77, 0x7ff0, 0x7ff2][random.next() % 6]!
      const { result } = random.next() % 3 === 0
        ? tools.sysctl((Object.keys(SYSCTL) as SysctlName[])[random.next() % Object.keys(SYSCTL).length]!, fill) : tools.domctl(name, target, fill)
      expect(result >= 0 || errors.has(result), `${name} ${result}`).toBe(true)
      if (result < -4095 || !host.hypervisor.hasDomain(domid as DomId)) break
    }
    expect(host.problems()).toEqual([])
    tools.domctl('destroydomain', domid)
    expect(host.problems()).toEqual([])
  })

  test('a domain that dies in the middle is not found any more, or answers as a dying one', () => {
    const domid = create()
    tools.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 2))
    host.hypervisor.setMaxPages(domid as DomId, 64)
    const [frame] = host.hypervisor.populatePhysmap(domid as DomId, 8, 0)
    host.hypervisor.mapForeign(domid as DomId, frame!)
    expect(tools.domctl('destroydomain', domid).result).toBe(0)
    expect(info(domid)).toMatchObject({ domain: domid, totPages: 1n })
    expect(info(domid).flags & 1).toBe(1)
    const names: DomctlName[] = ['pausedomain', 'unpausedomain', 'getvcpuinfo', 'scheduler_op', 'max_mem', 'shadow_op', 'getvcpucontext', 'setvcpucontext', 'destroydomain', 'setvcpuaffinity', 'get_cpu_policy']
    for (const name of names) expect(tools.domctl(name, domid).result, name).toBeLessThanOrEqual(0)
    host.hypervisor.unmapForeign(domid as DomId, frame!)
    expect(tools.domctl('destroydomain', domid).result).toBe(-ESRCH)
    expect(host.problems()).toEqual([])
  })

  test('a domain is permitted the ports of the calendar clock, one by one, and loses them again', () => {
    const domid = create()
    const allow = (firstPort: number, nrPorts: number, allowAccess: number): unknown => {
      const { result } = tools.domctl('ioport_permission', domid, (view, at) => DomctlIoportPermission.encode(view, at, { firstPort, nrPorts, allowAccess }))
      return [result, clockPorts(domid)]
    }
    expect([allow(0x70, 1, 1), allow(0x60, 0x20, 1), allow(0x71, 1, 0), allow(0x3f8, 8, 1), allow(0xffff, 2, 1)])
      .toEqual([[0, 1], [0, 3], [0, 1], [0, 1], [-EINVAL, 1]])
  })

  test('two toolstacks at once neither mix their domains up nor end one twice', () => {
    const both = [tools, new ToolDomain(host.hypervisor, host.machine.memory)]
    const random = new SeededRandom(19)
    const free = host.hypervisor.hostInfo().freeFrames
    const wish = (view: DataView, at: number): void => DomctlCreatedomain.encode(view, at, WISHES)
    // Both want the same number: one has it.
    expect(both.map((one) => one.domctl('createdomain', 30, wish).result)).toEqual([0, -EEXIST])
    // Each pauses it, more than once: ending it does not wait for that.
    both[0]!.domctl('max_vcpus', 30, (view, at) => DomctlMaxVcpus.max.set(view, at, 1))
    expect(both.flatMap((one) => [one.domctl('pausedomain', 30).result, one.domctl('pausedomain', 30).result])).toEqual([0, 0, 0, 0])
    expect(both.map((one) => one.domctl('destroydomain', 30).result)).toEqual([0, -ESRCH])
    const alive = new Set<number>()
    for (let round = 0; round < 1000; round += 1) {
      const one = both[random.next() % 2]!
      const domid = 40 + random.next() % 6
      const known = alive.has(domid)
      if (random.next() % 2 === 0) {
        expect(one.domctl('createdomain', domid, wish).result).toBe(known ? -EEXIST : 0)
        alive.add(domid)
      } else if (random.next() % 2 === 0) {
        expect(one.domctl('destroydomain', domid).result).toBe(known ? 0 : -ESRCH)
        alive.delete(domid)
      } else expect(one.domctl('max_vcpus', domid, (view, at) => DomctlMaxVcpus.max.set(view, at, 2)).result).toBe(known ? 0 : -ESRCH)
    }
    for (const domid of alive) expect(both[domid % 2]!.domctl('destroydomain', domid).result).toBe(0)
    expect([host.hypervisor.hostInfo().freeFrames, host.problems()]).toEqual([free, []])
  })
})
