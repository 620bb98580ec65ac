/**
 * Operations of sysctl on the host: its CPUs, nodes and memory, and its list of domains.
 * Reference: xen/common/sysctl.c, do_sysctl; xen/arch/x86/sysctl.c, arch_do_physinfo.
 */
import {
  DomctlGetdomaininfo, ERRNO, PHYSCAP, SysctlAvailheap, SysctlCpuinfo, SysctlCputopo, SysctlCputopoinfo, SysctlGetcpuinfo,
  SysctlGetdomaininfolist, SysctlMeminfo, SysctlNumainfo, SysctlPcitopoinfo, SysctlPhysinfo,
} from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import { OWNER_FREE } from '../../frames/frame-table.ts'
import { Scratch } from '../../memory/guest-access.ts'
import { WORK } from '../../time/work-meter.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { answering, silent } from '../binary/control-call.ts'
import { writeDomainRecord } from '../binary/domain-record.ts'
import { featuresetOf } from '../core/system-policies.ts'
import { SYSCTL_ARGUMENT, type SysctlCall, type SysctlParts } from './sysctl-call.ts'

/** Largest number of a node (MAX_NUMNODES - 1), distance of a node to itself, and no device. */
const [LAST_NODE, OWN_DISTANCE, INVALID_DEVICE] = [63, 10, 0xffff_fffe] as const
/** Words of features that physinfo has room for. */
const CAPABILITY_WORDS = 8
const DEVICE_BYTES = 7
/** From so many bits of an address on, all memory has them. */
const ALL_BITS = 52

/** What the host's guests can be: as many bits as tools look at. */
function capabilities({ kinds }: SysctlParts): number {
  const binary = kinds.all().filter(({ hasRegisters }) => hasRegisters)
  const translated = binary.some(({ createDomain }) => createDomain !== undefined)
  const own = binary.some(({ createDomain }) => createDomain === undefined)
  return (translated ? PHYSCAP.hvm | PHYSCAP.hap : 0) | (own ? PHYSCAP['pv'] : 0) | PHYSCAP.gnttab_v1 | PHYSCAP.gnttab_v2
}

function physinfo(parts: SysctlParts, { view }: SysctlCall): number {
  const { scheduler, memory, domainMemory, tsc, policies } = parts
  const op = SysctlPhysinfo
  const policy = policies.of()
  const words = new Uint32Array(CAPABILITY_WORDS)
  if (typeof policy !== 'number') words.set(featuresetOf(policy).slice(0, CAPABILITY_WORDS))
  new Uint8Array(view.buffer, SYSCTL_ARGUMENT, op.size).fill(0)
  op.encode(view, SYSCTL_ARGUMENT, {
    threadsPerCore: 1, coresPerSocket: scheduler.cpuCount, nrCpus: scheduler.cpuCount, maxCpuId: scheduler.cpuCount - 1, nrNodes: 1,
    maxNodeId: LAST_NODE, cpuKhz: tsc.kilohertz, capabilities: capabilities(parts), archCapabilities: 0,
    totalPages: BigInt(memory.endFrame - memory.firstFrame), freePages: BigInt(domainMemory.free), scrubPages: 0n,
    outstandingPages: BigInt(domainMemory.claimed), maxMfn: BigInt(memory.endFrame - 1), hwCap: new Uint8Array(words.buffer),
  })
  return 0
}

/** getdomaininfolist: as many records as the caller has room for. */
function listDomains(parts: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const op = SysctlGetdomaininfolist
  const first = op.firstDomain.get(view, SYSCTL_ARGUMENT)
  const most = op.maxDomains.get(view, SYSCTL_ARGUMENT)
  const address = call.address(op.buffer, SYSCTL_ARGUMENT)
  const record = new Scratch(DomctlGetdomaininfo.size)
  let count = 0
  for (const domain of parts.domains.all()) {
    if (domain.id < first) continue
    if (count === most) break
    writeDomainRecord(parts, domain, { view: record.view, base: 0 })
    if (call.write(address + count * record.bytes.length, record.bytes) < 0) return -ERRNO.EFAULT
    count += 1
    parts.meter.charge(WORK.element)
  }
  op.numDomains.set(view, SYSCTL_ARGUMENT, count)
  return 0
}

/** cputopoinfo: each CPU is a core of its own, in one socket. */
function topology({ scheduler }: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const op = SysctlCputopoinfo
  const count = call.isNull(op.cputopo, SYSCTL_ARGUMENT) ? scheduler.cpuCount : Math.min(scheduler.cpuCount, op.numCpus.get(view, SYSCTL_ARGUMENT))
  if (!call.isNull(op.cputopo, SYSCTL_ARGUMENT)) {
    const list = new Scratch(count * SysctlCputopo.size)
    for (let core = 0; core < count; core += 1) SysctlCputopo.encode(list.view, core * SysctlCputopo.size, { core, socket: 0, node: 0 })
    if (call.write(call.address(op.cputopo, SYSCTL_ARGUMENT), list.bytes) < 0) return -ERRNO.EFAULT
  }
  op.numCpus.set(view, SYSCTL_ARGUMENT, count)
  return 0
}

/** numainfo: one node with all memory. */
function nodes({ memory, domainMemory }: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const op = SysctlNumainfo
  const isAsked = !call.isNull(op.meminfo, SYSCTL_ARGUMENT) || !call.isNull(op.distance, SYSCTL_ARGUMENT)
  const count = isAsked ? Math.min(1, op.numNodes.get(view, SYSCTL_ARGUMENT)) : 1
  if (count === 1 && !call.isNull(op.meminfo, SYSCTL_ARGUMENT)) {
    const info = new Scratch(SysctlMeminfo.size)
    SysctlMeminfo.encode(info.view, 0, { memsize: BigInt(memory.endFrame) * BigInt(PAGE_SIZE), memfree: BigInt(domainMemory.free) * BigInt(PAGE_SIZE) })
    if (call.write(call.address(op.meminfo, SYSCTL_ARGUMENT), info.bytes) < 0) return -ERRNO.EFAULT
  }
  if (count === 1 && !call.isNull(op.distance, SYSCTL_ARGUMENT) && call.writeWord(call.address(op.distance, SYSCTL_ARGUMENT), OWN_DISTANCE) < 0) return -ERRNO.EFAULT
  op.numNodes.set(view, SYSCTL_ARGUMENT, count)
  return 0
}

/** availheap: free memory whose addresses have from `min` to `max` bits; none of another node. */
function available({ frames, domainMemory, meter }: SysctlParts, { view }: SysctlCall): number {
  const op = SysctlAvailheap
  const [min, max, node] = [op.minBitwidth.get(view, SYSCTL_ARGUMENT), op.maxBitwidth.get(view, SYSCTL_ARGUMENT), op.node.get(view, SYSCTL_ARGUMENT)]
  const frameAt = (bits: number): number => 2 ** (Math.min(bits, ALL_BITS) - 12)
  const [from, to] = [min === 0 ? 0 : frameAt(min), max === 0 ? Infinity : frameAt(max)]
  let free = 0
  if (node <= 0 && from <= frames.first && to >= frames.end) free = domainMemory.free
  else if (node <= 0) {
    for (let mfn = Math.max(frames.first, Math.ceil(from)); mfn < Math.min(frames.end, to); mfn += 1) if (frames.owner[mfn] === OWNER_FREE) free += 1
    meter.charge((frames.end - frames.first) * WORK.look)
  }
  op.availBytes.setNumber(view, SYSCTL_ARGUMENT, free * PAGE_SIZE)
  return 0
}

/** getcpuinfo: for how long each CPU has been idle. */
function idleTimes({ scheduler, domains, clock }: SysctlParts, call: SysctlCall): number {
  const { view } = call
  const op = SysctlGetcpuinfo
  const count = Math.min(op.maxCpus.get(view, SYSCTL_ARGUMENT), scheduler.cpuCount)
  const now = clock.now()
  const used = domains.all().reduce((sum, { vcpus }) => sum + vcpus.reduce((own, vcpu) => own + vcpu.runstate.cpuTime(now), 0), 0)
  const list = new Scratch(count * SysctlCpuinfo.size)
  const idle = Math.max(0, Math.floor(now - used / scheduler.cpuCount))
  for (let cpu = 0; cpu < count; cpu += 1) SysctlCpuinfo.idletime.setNumber(list.view, cpu * SysctlCpuinfo.size, idle)
  op.nrCpus.set(view, SYSCTL_ARGUMENT, count)
  return call.write(call.address(op.info, SYSCTL_ARGUMENT), list.bytes)
}

/** pcitopoinfo: no device that is named is there. */
function devices(call: SysctlCall, { meter }: SysctlParts): number {
  const { view } = call
  const op = SysctlPcitopoinfo
  if (call.isNull(op.devs, SYSCTL_ARGUMENT) || call.isNull(op.nodes, SYSCTL_ARGUMENT)) return -ERRNO.EINVAL
  const count = op.numDevs.get(view, SYSCTL_ARGUMENT)
  const device = new Uint8Array(DEVICE_BYTES)
  let done = 0
  for (; done < count && !(done > LAST_NODE && meter.isSpent); done += 1) {
    const isTold = call.read(call.address(op.devs, SYSCTL_ARGUMENT) + done * DEVICE_BYTES, device) || call.writeWord(call.address(op.nodes, SYSCTL_ARGUMENT) + done * 4, INVALID_DEVICE)
    if (isTold < 0) return -ERRNO.EFAULT
    meter.charge(WORK.element)
  }
  op.numDevs.set(view, SYSCTL_ARGUMENT, done)
  return 0
}

/** The operations, by the names of their numbers. */
export function hostOperations(parts: SysctlParts) {
  return {
    physinfo: answering((call: SysctlCall) => physinfo(parts, call)),
    getdomaininfolist: answering((call: SysctlCall) => listDomains(parts, call)),
    cputopoinfo: answering((call: SysctlCall) => topology(parts, call)),
    numainfo: answering((call: SysctlCall) => nodes(parts, call)),
    availheap: answering((call: SysctlCall) => available(parts, call)),
    getcpuinfo: answering((call: SysctlCall) => idleTimes(parts, call), partial('each CPU is told the mean of all')),
    pcitopoinfo: answering((call: SysctlCall) => devices(call, parts)),
    page_offline_op: silent(() => -ERRNO.EINVAL, partial('EINVAL: no memory fails')),
  }
}
