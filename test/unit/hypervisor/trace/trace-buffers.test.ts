/** The trace buffers, as a tool in a privileged domain has them made and reads them. test/debian has Debian's own xentrace do so. */
import { beforeEach, describe, expect, test } from 'vitest'
import { DOMID, ERRNO, HYPERVISOR, SCHEDOP, SysctlTbufOp, TBUFOP, TBuf, TRC, VIRQ } from '../../../../src/abi/index.ts'
import { MachineHost, SOURCE } from '../../../support/machine-host.ts'
import { ToolDomain } from '../../../support/tool-domain.ts'
import { TraceReader } from '../../../support/trace-reader.ts'

let host: MachineHost
let tools: ToolDomain

beforeEach(() => {
  host = new MachineHost(SOURCE, { physicalCpus: 2, memoryBytes: 32 << 20 })
  tools = new ToolDomain(host.hypervisor, host.machine.memory)
})

const trace = (command: keyof typeof TBUFOP, fill?: (view: DataView, at: number) => void) => tools.sysctl('tbuf_op', (view, at) => {
  SysctlTbufOp.cmd.set(view, at, TBUFOP[command])
  fill?.(view, at)
})
const setSize = (pages: number): number => trace('set_size', (view, at) => SysctlTbufOp.bufferBytes.set(view, at, pages)).result
const setMask = (mask: number): number => trace('set_evt_mask', (view, at) => SysctlTbufOp.evtMask.set(view, at, mask)).result
const info = () => trace('get_info').argument(SysctlTbufOp)
const reader = (): TraceReader => new TraceReader(tools.view, Number(info().bufferMfn))
/** A hypercall whose record has two words. */
const yieldOnce = (): number => tools.call('sched_op', SCHEDOP.yield, 0)
const YIELD = [TRC.PV_HYPERCALL_V2, [HYPERVISOR.sched_op | 1 << 20, SCHEDOP.yield]]
const { EBUSY, EINVAL, ENOMEM, EPERM } = ERRNO

/** Begins to record hypercalls in buffers of one page. */
function begin(mask: number = TRC.PV): TraceReader {
  expect([setSize(1), setMask(mask), trace('enable').result]).toEqual([0, 0, 0])
  const read = reader()
  return read
}

describe('trace buffers', () => {
  test('are made once, and the console tells of them as that of real Xen', () => {
    expect(info()).toMatchObject({ evtMask: TRC.ALL, bufferMfn: 0n, bufferBytes: 0 })
    expect([trace('enable').result, setSize(0), setSize(32), setSize(32), setSize(16), trace('enable').result]).toEqual([-EINVAL, -EINVAL, 0, -EBUSY, -EINVAL, 0])
    expect(info()).toMatchObject({ bufferBytes: 4096 })
    const [first, second] = [0, 1].map((cpu) => reader().frames(cpu))
    expect(new Set([...first!, ...second!]).size).toBe(64)
    expect(host.hypervisor.readConsole()).toBe([
      'xentrace: requesting 1 t_info pages for 32 trace pages on 2 cpus', `xentrace: p0 mfn ${first![0]!.toString(16)} offset 129`,
      `xentrace: p1 mfn ${second![0]!.toString(16)} offset 161`, 'xentrace: initialised', 'xentrace: tb_set_size from 32 to 16 not implemented',
    ].map((line) => `(XEN) ${line}\n`).join(''))
    expect(host.problems()).toEqual([])
  })

  test('are not made where there is no memory for them, and what was taken is given back', () => {
    const { freeFrames } = host.hypervisor.hostInfo()
    const other = host.hypervisor.createDomain({ kind: 'pv', vcpus: 1, maxPages: freeFrames })
    host.hypervisor.populatePhysmap(other, host.hypervisor.hostInfo().freeFrames - 10, 0)
    expect([setSize(8), host.hypervisor.hostInfo().freeFrames, setSize(2)]).toEqual([-ENOMEM, 10, 0])
    expect(host.problems()).toEqual([])
  })

  test('are a privileged domain\'s to ask about', () => {
    const plain = new ToolDomain(host.hypervisor, host.machine.memory, { privileged: false })
    expect(plain.sysctl('tbuf_op', (view, at) => SysctlTbufOp.cmd.set(view, at, TBUFOP.set_size)).result).toBe(-EPERM)
  })

  test('get records of hypercalls with their numbers and time stamps, of the classes and the CPUs that are asked for', () => {
    const read = begin()
    yieldOnce()
    const [setting, record] = read.take(0).slice(-2)
    // That of asking where the buffers are.
    expect([setting!.event, setting!.words]).toEqual([TRC.PV_HYPERCALL_V2, [HYPERVISOR.sysctl]])
    expect([record!.event, record!.words]).toEqual(YIELD)
    expect(record!.cycles! >= setting!.cycles!).toBe(true)
    setMask(TRC.SCHED)
    yieldOnce()
    expect(read.take(0).map(({ event }) => event).at(-1)).toBe(TRC.SCHED_YIELD)
    trace('set_cpu_mask', (view, at) => {
      tools.bytes[tools.buffer()] = 2
      SysctlTbufOp.cpuMask.layout.encode(view, SysctlTbufOp.cpuMask.at(at), { bitmap: BigInt(tools.buffer()), nrBits: 8 })
    })
    read.take(0)
    yieldOnce()
    expect(read.take(0)).toEqual([])
  })

  test('get records of what runs where, and of domains that come and go', () => {
    const read = begin(TRC.ALL)
    const domid = host.hypervisor.createDomain({ kind: 'typescript', vcpus: 1, maxPages: 4, createRunner: () => ({ executed: 1, run: () => ({ kind: 'block' }), enter: () => true }) })
    host.hypervisor.startVcpu(domid, 0)
    host.hypervisor.unpauseDomain(domid)
    host.hypervisor.run({ instructions: 1000 })
    host.hypervisor.destroyDomain(domid)
    const seen = [...read.take(0), ...read.take(1)].map(({ event, words }) => [event, ...words])
    const running = (from: number, to: number): number[] => [TRC.SCHED_RUNSTATE_CHANGE | from << 8 | to << 4, domid << 16]
    expect(seen).toEqual(expect.arrayContaining([
      [TRC.DOM0_DOM_ADD, domid], running(3, 1), running(1, 0), running(0, 2), [TRC.DOM0_DOM_REM, domid],
    ]))
    const switches = seen.filter(([event]) => event === TRC.SCHED_SWITCH)
    expect(switches).toContainEqual([TRC.SCHED_SWITCH, DOMID.IDLE, expect.any(Number), domid, 0])
    expect(switches).toContainEqual([TRC.SCHED_SWITCH, domid, 0, DOMID.IDLE, expect.any(Number)])
  })

  test('go on from their beginning, count what found no room, and tell of it when there is some', () => {
    const read = begin()
    // 204 records of 20 bytes, and 8 bytes that are left.
    for (let i = 0; i < 250; i += 1) yieldOnce()
    // Those, and the one by which the buffers were found.
    const all = 250 + 1
    const full = read.take(0)
    yieldOnce()
    const [wrap, lost, next] = read.take(0)
    expect(full.every(({ event, words }) => event === TRC.PV_HYPERCALL_V2 && words.length <= 2)).toBe(true)
    expect([wrap!.event, wrap!.words.length]).toEqual([TRC.TRACE_WRAP_BUFFER, expect.any(Number)])
    expect([lost!.event, lost!.words[0]! + full.length, lost!.words[1]]).toEqual([TRC.LOST_RECORDS, all, DOMID.IDLE])
    expect([next!.event, next!.words]).toEqual(YIELD)
    for (let i = 0; i < 100; i += 1) yieldOnce()
    expect(read.take(0).map(({ event, words }) => [event, words])).toEqual(Array.from({ length: 100 }, () => YIELD))
  })

  test('raise VIRQ_TBUF when one is half full', () => {
    const port = host.hypervisor.port(tools.domid)
    const bound = port.bindVirq(VIRQ.TBUF, 0)
    const read = begin()
    read.take(0)
    for (let i = 0; i < 50; i += 1) yieldOnce()
    const isPending = (): boolean => host.hypervisor.listPorts(tools.domid).some((one) => one.port === bound && one.isPending)
    expect(isPending()).toBe(false)
    for (let i = 0; i < 100; i += 1) yieldOnce()
    expect(isPending()).toBe(true)
    expect(read.take(0)).toHaveLength(150)
  })

  test.each([
    ['what was read is no place', (view: DataView, at: number) => TBuf.cons.set(view, at, 3)],
    ['what was read lies behind the buffer', (view: DataView, at: number) => TBuf.cons.set(view, at, 2 * 4088)],
    ['what was written is no place', (view: DataView, at: number) => TBuf.prod.set(view, at, 0xffff_fffc)],
    ['more was read than written', (view: DataView, at: number) => TBuf.cons.set(view, at, TBuf.prod.get(view, at) + 4)],
  ])('end the tracing where a tool says that %s, and nothing else happens', (_what, spoil) => {
    const read = begin()
    spoil(tools.view, read.head(0))
    const before = tools.bytes.slice(read.head(0), read.head(0) + 4096)
    yieldOnce()
    expect(tools.bytes.slice(read.head(0), read.head(0) + 4096)).toEqual(before)
    expect(host.hypervisor.readConsole()).toMatch(/trc#0: bogus prod \([0-9a-f]{8}\) and\/or cons \([0-9a-f]{8}\)\n$/)
    expect(host.problems()).toEqual([])
  })

  test('are those of a host that was saved, which records on', () => {
    const read = begin()
    yieldOnce()
    const saved = host.hypervisor.save()
    const copy = new MachineHost(SOURCE, { physicalCpus: 2, memoryBytes: 32 << 20 })
    copy.machine.memory.bytes.set(host.machine.memory.bytes)
    copy.hypervisor.load(saved, { createRunner: () => () => ({ executed: 1, run: () => ({ kind: 'block' }), enter: () => true }) })
    const port = copy.hypervisor.port(tools.domid)
    port.hypercall(HYPERVISOR.sched_op, [SCHEDOP.yield, 0])
    const other = new TraceReader(copy.machine.memory.view, Number(info().bufferMfn))
    expect(other.take(0).slice(-2).map(({ event, words }) => [event, words])).toEqual([YIELD, YIELD])
    expect([copy.problems(), read.take(0).length > 0]).toEqual([[], true])
  })
})
