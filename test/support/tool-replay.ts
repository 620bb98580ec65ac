/**
 * Plays the calls that Xen's tools made again, from a privileged domain, and holds what comes back against what came back there. Handles
 * are replaced by buffers of the domain's; what other processes and the guests did meanwhile is done for them. Words that tell times,
 * rates, amounts of memory or frames are not compared: they are the machine's.
 */
import {
  Domctl, DomctlGetdomaininfo, DomctlVcpuextstate, ERRNO, FLAT, GNTMAP, GNTTABOP, GnttabMapGrantRef, GnttabUnmapGrantRef, HYPERVISOR, MMUEXT, MmuextOp, MulticallEntry, Sysctl, SysctlCpuPolicy, SysctlGetdomaininfolist, SysctlTbufOp, TBUFOP,
  VGCF, VcpuGuestContext, XENMEM, XenForeignMemoryMap, XenMemAcquireResource, XenMemoryReservation,
} from '../../src/abi/index.ts'
import { encodeVcpuContext } from '../../src/hypervisor/index.ts'
import type { DomId, EventPort, GrantRef, Mfn } from '../../src/util/index.ts'
import { READ, TABLE } from './hypervisor-host.ts'
import type { MachineHost } from './machine-host.ts'
import { type DomctlName, type SysctlName, ToolDomain } from './tool-domain.ts'
import type { CapturedCall, CapturedCommand } from './tool-capture.ts'

/** Byte offsets of handles in an operation's structure. */
const HANDLES: Readonly<Record<string, readonly number[]>> = {
  'domctl/setvcpuaffinity': [8, 24], 'domctl/getvcpuaffinity': [8, 24], 'domctl/setnodeaffinity': [0], 'domctl/getvcpucontext': [8], 'domctl/setvcpucontext': [8],
  'domctl/set_cpu_policy': [8, 16], 'domctl/get_cpu_policy': [8, 16], 'domctl/getpageframeinfo3': [8], 'domctl/getvcpuextstate': [24], 'domctl/setvcpuextstate': [24],
  'domctl/get_vcpu_msrs': [8], 'sysctl/cpupool_op': [24], 'sysctl/numainfo': [8, 16], 'sysctl/cputopoinfo': [8], 'sysctl/pcitopoinfo': [8, 16],
  'sysctl/readconsole': [8], 'sysctl/get_cpu_policy': [16, 24], 'sysctl/get_cpu_featureset': [8], 'sysctl/debug_keys': [0], 'sysctl/tbuf_op': [8],
}

/** Words of answers that are not compared, by index: they follow from the machine or from time. */
const MACHINES_OWN: Readonly<Record<string, readonly number[]>> = {
  'domctl/getvcpuinfo': [1, 2, 3, 4], 'domctl/gettscinfo': [1, 4, 5], 'sysctl/physinfo': [6, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23],
  'sysctl/availheap': [4, 5], 'sysctl/readconsole': [1, 4], 'domctl/getvcpuextstate': [2, 4], 'domctl/get_cpu_policy': [0], 'sysctl/get_cpu_policy': [1],
  'domctl/get_ext_vcpucontext': [2, 3], 'sysctl/cpupool_op': [5], 'sysctl/tbuf_op': [8],
}

/** Shutdown and its reason, and a pause: what of a domain's state does not depend on the moment. */
const LASTING = 0xffff_000c
const BUFFERS = 12
/** Pages of each of xentrace's buffers. */
const TRACE_PAGES = 32

/** What a command's calls came to. */
export interface Comparison {
  readonly command: string
  readonly calls: number
  /** Calls that were not answered as there: the line, and what came. */
  readonly different: readonly string[]
}

/** One host with its tools. */
export class ToolReplay {
  readonly host: MachineHost
  readonly tools: ToolDomain
  /** Ports of this domain by those that the tools were given there. */
  private readonly ports = new Map<number, number>()
  /** Handles of mapped grants by the process that has mapped them, in order. */
  private readonly handles = new Map<string, number[]>()
  /** The domain that was named last. */
  private latest = 0
  private populated = 0
  private tables: Mfn | undefined

  constructor(host: MachineHost) {
    this.host = host
    this.tools = new ToolDomain(host.hypervisor, host.machine.memory, { pages: 64 })
  }

  play({ command, calls }: CapturedCommand): Comparison {
    const different: string[] = []
    let count = 0
    for (const call of calls) {
      for (let i = 0; i < call.times; i += 1) {
        const said = this.one(call, i)
        count += 1
        if (said !== undefined) different.push(`${call.text}: ${said}`)
      }
    }
    return { command, calls: count, different: [...new Set(different)] }
  }

  /** Makes one call; what came back otherwise than there. */
  private one(call: CapturedCall, repetition: number): string | undefined {
    const [family, operation] = call.name.split('/') as [string, string]
    if (family === 'domctl' && call.domain > 0) this.latest = call.domain
    switch (family) {
      case 'domctl': return operation === 'getdomaininfo' ? this.info(call) : this.control(call, operation)
      case 'sysctl': return operation === 'getdomaininfolist' ? this.list(call) : this.control(call, operation)
      case 'memory_op': return this.memory(call, operation)
      case 'mmuext_op': return this.pin(call)
      case 'event_channel_op': return this.events(call, operation, repetition)
      case 'grant_table_op': return operation === 'map_grant_ref' ? this.mapGrant(call) : this.unmapGrant(call)
      default: return undefined
    }
  }

  private compared(call: CapturedCall, result: number, words?: readonly number[]): string | undefined {
    if (call.result !== undefined && result !== call.result) return `result ${result}`
    const ignored = MACHINES_OWN[call.name] ?? []
    const wrong = (call.returned ?? []).flatMap((word, i) => (word === call.given[i] || ignored.includes(i) || words === undefined || words[i] === word ? [] : [`word ${i} is ${words[i]!.toString(16)}`]))
    return wrong.length === 0 ? undefined : wrong.join(', ')
  }

  /** domctl and sysctl by their words. */
  private control(call: CapturedCall, operation: string): string | undefined {
    const { tools } = this
    const given = [...call.given]
    const handles = HANDLES[call.name] ?? []
    handles.forEach((offset, i) => {
      const at = offset / 4
      if (given[at] === undefined || (given[at] === 0 && given[at + 1] === 0)) return
      given[at] = tools.buffer(1 + i * (BUFFERS / 2))
      given[at + 1] = 0
    })
    this.prepare(call, given)
    const fill = (view: DataView, at: number): void => given.forEach((word, i) => view.setUint32(at + i * 4, word, true))
    const isDomctl = call.name.startsWith('domctl')
    const { result } = isDomctl ? tools.domctl(operation as DomctlName, call.domain, fill) : tools.sysctl(operation as SysctlName, fill)
    const base = tools.frames[0]! * 4096 + (isDomctl ? Domctl : Sysctl).u.offset
    const words = Array.from({ length: given.length }, (_, i) => tools.view.getUint32(base + i * 4, true))
    // A handle comes back as it was.
    handles.forEach((offset) => [0, 1].forEach((half) => { words[offset / 4 + half] = call.returned?.[offset / 4 + half] ?? 0 }))
    return this.compared(call, result, words)
  }

  /** What buffers hold, and what a structure says of them, where that is ours. */
  private prepare(call: CapturedCall, given: number[]): void {
    const { tools } = this
    const buffers = [tools.bufferBytes(1, 4096), tools.bufferBytes(1 + BUFFERS / 2, 4096)]
    if (/affinity$/.test(call.name)) for (const bytes of buffers) bytes.fill(0xff)
    // The size was behind the words that were captured; the console told of it.
    if (call.name === 'sysctl/tbuf_op' && given[0] === TBUFOP.set_size) given[SysctlTbufOp.bufferBytes.offset / 4] = TRACE_PAGES
    if (call.name === 'domctl/setvcpucontext') this.writeContext(call.domain, given)
    if (call.name === 'domctl/setvcpuextstate') this.copyState(call.domain, given)
    if (call.name === 'domctl/set_cpu_policy') {
      // The leaves that were asked for before, which lie in the buffers still.
      const { argument } = tools.sysctl('get_cpu_policy', (view, at) => [4, 120, 2, 0, tools.buffer(1), 0, tools.buffer(1 + BUFFERS / 2), 0].forEach((word, i) => view.setUint32(at + i * 4, word, true)))
      given[0] = argument(SysctlCpuPolicy).nrLeaves
    }
    if (call.name === 'domctl/getvcpuextstate' && given[2] !== 0) {
      // As large as was said before, which is the processor's own.
      const { argument } = tools.domctl('getvcpuextstate', call.domain)
      const { xfeatureMask, bufferSize } = argument(DomctlVcpuextstate)
      given.splice(2, 4, Number(xfeatureMask), 0, Number(bufferSize), 0)
      given[6] = tools.buffer(1)
      given[7] = 0
    }
  }

  private info(call: CapturedCall): string | undefined {
    this.catchUp(call)
    const { result, argument } = this.tools.domctl('getdomaininfo', call.domain)
    if (result !== call.result) return `result ${result}`
    if (result < 0) return undefined
    const { domain, flags, totPages, maxPages, maxVcpuId, ssidref } = argument(DomctlGetdomaininfo)
    const { answers } = call
    const wrong: string[] = []
    if (domain !== answers['domain']) wrong.push(`domain ${domain}`)
    if (domain > 0) {
      if (((flags ^ answers['flags']!) & LASTING) !== 0) wrong.push(`flags ${flags.toString(16)}`)
      if (Number(totPages) !== answers['tot_pages']) wrong.push(`tot_pages ${totPages.toString(16)}`)
      if (Number(maxPages) !== answers['max_pages']) wrong.push(`max_pages ${maxPages.toString(16)}`)
      if (maxVcpuId !== answers['max_vcpu_id']) wrong.push(`max_vcpu_id ${maxVcpuId}`)
    }
    if (ssidref !== answers['ssidref']) wrong.push(`ssidref ${ssidref}`)
    return wrong.length === 0 ? undefined : wrong.join(', ')
  }

  /** What a guest did between two calls: it shut down, ran its vCPUs, or gave memory back. */
  private catchUp({ answers, result }: CapturedCall): void {
    const { hypervisor } = this.host
    const domid = answers['domain'] as DomId
    if (result !== 0 || domid === 0 || !hypervisor.hasDomain(domid)) return
    const now = hypervisor.domainInfo(domid)
    const flags = answers['flags']!
    if ((flags & 4) !== 0 && !now.shutdown) hypervisor.shutdownDomain(domid, flags >>> 16)
    const surplus = now.dying ? 0 : now.totalPages - answers['tot_pages']!
    const spare = hypervisor.domainFrames(domid).filter((frame) => hypervisor.frameInfo(frame).references === 1)
    if (answers['nr_online_vcpus'] === 2 && now.onlineVcpus === 1) hypervisor.setVcpuContext(domid, 1, contextOf(this.tables!))
    if (surplus > 0) hypervisor.releaseFrames(domid, spare.slice(-surplus))
  }

  private list(call: CapturedCall): string | undefined {
    const { tools } = this
    const at = { first: call.fields['first']!, most: call.fields['max']! }
    const { result, argument } = tools.sysctl('getdomaininfolist', (view, base) => {
      view.setUint16(base, at.first, true)
      view.setUint32(base + 4, at.most, true)
      view.setUint32(base + 8, tools.buffer(1), true)
    })
    const { numDomains } = argument(SysctlGetdomaininfolist)
    return result === call.result && numDomains === call.answers['num'] ? undefined : `result ${result}, num ${numDomains}`
  }

  private memory(call: CapturedCall, operation: string): string | undefined {
    const { tools } = this
    const at = tools.buffer(1)
    const list = tools.buffer(2)
    tools.bytes.fill(0, at, at + 4096)
    const domid = call.domain
    if (operation === 'populate_physmap') {
      const { nr_extents: count = 0, order = 0 } = call.fields
      for (let i = 0; i < count; i += 1) tools.view.setBigUint64(list + i * 8, BigInt(this.populated + i * 2 ** order), true)
      XenMemoryReservation.encode(tools.view, at, { extentStart: BigInt(list), nrExtents: BigInt(count), extentOrder: order, memFlags: 0, domid })
      const result = this.multicall(XENMEM.populate_physmap, at)
      this.populated += count * 2 ** order
      // The last lists were longer than what the domain had room for, where pages had been given before.
      return result === count || this.host.hypervisor.domainInfo(domid as DomId).totalPages === this.host.hypervisor.domainInfo(domid as DomId).maxPages ? undefined : `${result} extents`
    }
    if (operation === 'acquire_resource') {
      XenMemAcquireResource.encode(tools.view, at, { domid, type: 1, id: 0, nrFrames: 1, pad: 0, frame: 0n, frameList: BigInt(list) })
      const result = tools.call('memory_op', XENMEM.acquire_resource, at)
      // What the tool writes there: the pages of console and XenStore.
      const frames = this.host.hypervisor.domainFrames(domid as DomId)
      for (const ref of [0, 1]) this.host.hypervisor.seedGrant(domid as DomId, ref as GrantRef, { remote: tools.domid, frame: frames[20 + ref]! })
      return this.compared(call, result)
    }
    if (operation === 'set_memory_map') {
      tools.bytes.fill(0, list, list + 20)
      tools.view.setUint32(list + 8, 0x800_0000, true)
      tools.view.setUint32(list + 16, 1, true)
      XenForeignMemoryMap.domid.set(tools.view, at, domid)
      XenForeignMemoryMap.map.layout.encode(tools.view, XenForeignMemoryMap.map.at(at), { nrEntries: 1, buffer: BigInt(list) })
    }
    call.given.forEach((word, i) => tools.view.setUint32(at + i * 4, word, true))
    if (operation === 'machphys_mfn_list') [list, 0].forEach((word, i) => tools.view.setUint32(at + 8 + i * 4, word, true))
    if (operation === 'claim_pages') XenMemoryReservation.domid.set(tools.view, at, this.latest)
    const result = this.multicall(XENMEM[operation as keyof typeof XENMEM], at)
    const isFine = operation === 'get_vnumainfo' ? result === -ERRNO.EOPNOTSUPP : result >= 0
    return isFine ? undefined : `result ${result}`
  }

  /** A memory_op as libxc makes it: in a multicall of one, for a result of 64 bits. */
  private multicall(command: number, address: number): number {
    const { tools } = this
    const entry = tools.buffer(60)
    MulticallEntry.encode(tools.view, entry, { op: BigInt(HYPERVISOR.memory_op), result: 0n, args: [BigInt(command), BigInt(address), 0n, 0n, 0n, 0n] })
    const result = tools.call('multicall', entry, 1)
    return result < 0 ? result : Number(BigInt.asIntN(64, MulticallEntry.result.get(tools.view, entry)))
  }

  /** Pins the domain's tables, which the tool would have written by foreign maps. */
  private pin(call: CapturedCall): string | undefined {
    const domid = (call.fields['foreigndom'] ?? 0) as DomId
    const l4 = this.buildTables(domid)
    const at = this.tools.buffer(1)
    MmuextOp.cmd.set(this.tools.view, at, MMUEXT.PIN_L4_TABLE)
    MmuextOp.mfn.setNumber(this.tools.view, at, l4)
    return this.compared(call, this.tools.call('mmuext_op', at, 1, 0, domid))
  }

  private buildTables(domid: DomId): Mfn {
    if (this.tables !== undefined) return this.tables
    const [l4, l3, l2, l1, data] = this.host.hypervisor.domainFrames(domid) as [Mfn, Mfn, Mfn, Mfn, Mfn]
    const { words } = this.host.machine.memory
    const entry = (table: number, frame: number, flags: number): void => { words[table * 1024] = ((frame << 12) | flags) >>> 0 }
    entry(l4, l3, TABLE)
    entry(l3, l2, TABLE)
    entry(l2, l1, TABLE)
    entry(l1, data, READ)
    this.tables = l4
    return l4
  }

  /** Registers that enter the tables, in the first buffer. */
  private writeContext(domid: number, given: number[]): void {
    const { tools } = this
    const view = new DataView(new ArrayBuffer(VcpuGuestContext.size))
    const isLive = this.host.hypervisor.domainInfo(domid as DomId).onlineVcpus > 0
    const context = isLive ? undefined : contextOf(this.buildTables(domid as DomId))
    if (context === undefined) {
      tools.domctl('getvcpucontext', domid, (to, at) => to.setUint32(at + 8, given[2]!, true))
      return
    }
    encodeVcpuContext(context, view, 0)
    // A context is longer than a page; the two frames are neighbours.
    tools.bytes.set(new Uint8Array(view.buffer), tools.buffer(1))
  }

  private copyState(domid: number, given: number[]): void {
    const { tools } = this
    const { argument } = tools.domctl('getvcpuextstate', domid)
    const told = argument(DomctlVcpuextstate)
    const state = tools.domctl('getvcpuextstate', domid, (view, at) => DomctlVcpuextstate.encode(view, at, { ...told, vcpu: 0, buffer: BigInt(tools.buffer(1)) }))
    given.splice(4, 2, Number(state.argument(DomctlVcpuextstate).bufferSize), 0)
    given[6] = tools.buffer(1)
    given[7] = 0
  }

  private events(call: CapturedCall, operation: string, repetition: number): string | undefined {
    const { hypervisor } = this.host
    const { tools } = this
    const at = tools.buffer(1)
    const { view } = tools
    const { fields, answers } = call
    tools.bytes.fill(0, at, at + 32)
    switch (operation) {
      case 'alloc_unbound':
        view.setUint16(at, call.domain, true)
        view.setUint16(at + 2, fields['remote']!, true)
        return this.compared(call, tools.call('event_channel_op', 6, at)) ?? (view.getUint32(at + 4, true) === fields['port'] ? undefined : `port ${view.getUint32(at + 4, true)}`)
      case 'bind_interdomain': {
        if (fields['remote_dom'] === 0) return undefined
        view.setUint16(at, fields['remote_dom']!, true)
        view.setUint32(at + 4, fields['remote_port']!, true)
        const result = tools.call('event_channel_op', 0, at)
        this.ports.set(fields['local_port']!, view.getUint32(at + 8, true))
        return this.compared(call, result)
      }
      case 'status': {
        const own = this.ports.get(fields['port']!)
        if (call.domain === 0) return undefined
        view.setUint16(at, call.domain, true)
        view.setUint32(at + 4, call.domain === 32752 ? own! : fields['port']! + (call.times > 9 ? repetition : 0), true)
        const result = tools.call('event_channel_op', 5, at)
        return this.compared(call, result) ?? (answers['status'] === 0 || view.getUint32(at + 8, true) === answers['status'] ? undefined : `status ${view.getUint32(at + 8, true)}`)
      }
      case 'close': {
        const own = this.ports.get(fields['port']!)
        if (own !== undefined) hypervisor.closePort(tools.domid, own as EventPort)
        return undefined
      }
      default: return undefined
    }
  }

  private mapGrant(call: CapturedCall): string | undefined {
    const { tools } = this
    const at = tools.buffer(1)
    tools.bytes.fill(0, at, at + GnttabMapGrantRef.size)
    GnttabMapGrantRef.encode(tools.view, at, { flags: GNTMAP.host_map, ref: call.fields['ref']!, dom: call.domain })
    const result = tools.call('grant_table_op', GNTTABOP.map_grant_ref, at, 1)
    const { status, handle } = GnttabMapGrantRef.decode(tools.view, at)
    this.handles.set(call.process, [...(this.handles.get(call.process) ?? []), handle])
    return this.compared(call, result) ?? (status === 0 ? undefined : `status ${status}`)
  }

  private unmapGrant(call: CapturedCall): string | undefined {
    const { tools } = this
    const at = tools.buffer(1)
    const handle = this.handles.get(call.process)?.shift()
    if (handle === undefined) return undefined
    tools.bytes.fill(0, at, at + GnttabUnmapGrantRef.size)
    GnttabUnmapGrantRef.handle.set(tools.view, at, handle)
    const result = tools.call('grant_table_op', GNTTABOP.unmap_grant_ref, at, 1)
    const status = GnttabUnmapGrantRef.status.get(tools.view, at)
    return this.compared(call, result) ?? (status === 0 ? undefined : `status ${status}`)
  }

  /** A new domain begins. */
  begin(): void {
    this.populated = 0
    this.tables = undefined
  }
}

/** Registers of a kernel that does nothing. */
const contextOf = (l4: Mfn): Parameters<typeof encodeVcpuContext>[0] => ({
  flags: VGCF.in_kernel | VGCF.online, fpu: new Uint8Array(512), ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0,
  user: {
    rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, rsp: 0n, r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n,
    rip: 0n, rflags: 0x202n, cs: FLAT.KERNEL_CS64, ss: FLAT.KERNEL_SS, ds: 0, es: 0, fs: 0, gs: 0, savedUpcallMask: 0,
  },
  traps: [], kernelSs: FLAT.KERNEL_SS, kernelSp: 0n, kernelTable: l4, userTable: 0, cr0: 0n, cr4: 0n, debug: Array<bigint>(8).fill(0n), eventCallback: 0n,
  failsafeCallback: 0n, syscallCallback: 0n, vmAssist: 0n, fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
})
