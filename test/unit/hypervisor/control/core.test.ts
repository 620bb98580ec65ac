/** The number-returning core of the control interface: what each operation answers, beside what Xen's hypercall answers. */
import { describe, expect, test } from 'vitest'
import { ERRNO, SHUTDOWN } from '../../../../src/abi/index.ts'
import { compose } from '../../../../src/hypervisor/composition.ts'
import { DomainActivity } from '../../../../src/hypervisor/control/core/activity.ts'
import { ForeignFrames } from '../../../../src/hypervisor/control/core/foreign-frames.ts'
import { Frames } from '../../../../src/hypervisor/control/core/frames.ts'
import { writeHypercallPage } from '../../../../src/hypervisor/control/core/hypercall-page.ts'
import { LogDirty } from '../../../../src/hypervisor/control/core/log-dirty.ts'
import { setMemoryMap } from '../../../../src/hypervisor/control/core/memory-map.ts'
import { FRAME_KIND } from '../../../../src/hypervisor/control/core/records.ts'
import { Scheduling, type Told } from '../../../../src/hypervisor/control/core/scheduling.ts'
import { VcpuOperations } from '../../../../src/hypervisor/control/core/vcpus.ts'
import type { Domain } from '../../../../src/hypervisor/domains/domain.ts'
import { VirtualClock } from '../../../../src/hypervisor/index.ts'
import { type Mfn, SeededRandom, domId } from '../../../../src/util/index.ts'
import { PlainMemory, SLEEPER } from '../../../support/hypervisor-host.ts'

/** A core over a host with two domains of 16 frames: `guest` and `other`. */
function scene() {
  const memory = new PlainMemory(512)
  const parts = compose({ memory, clock: new VirtualClock(), random: new SeededRandom(1) })
  const domainOf = (): Domain => parts.domains.get(parts.lifecycle.create({ ...TYPESCRIPT, maxPages: 16 }))!
  const populated = (domain: Domain): readonly [Domain, readonly Mfn[]] => {
    const frames: Mfn[] = []
    expect(parts.reservation.populate(domain, { count: 16, firstPfn: 0 }, frames)).toBe(16)
    return [domain, frames]
  }
  const [guest, own] = populated(domainOf())
  const [other, foreign] = populated(domainOf())
  return {
    parts, guest, own, other, foreign, reservation: parts.reservation, activity: new DomainActivity(parts), frames: new Frames(parts),
    logDirty: new LogDirty({ ...parts, tracking: memory }), foreignFrames: new ForeignFrames(parts), scheduling: new Scheduling(parts),
    vcpus: new VcpuOperations(parts),
    vcpu: guest.vcpus[0]!,
  }
}

type Scene = ReturnType<typeof scene>

/** An operation, what it is to answer, and what Xen 4.17 answers where that differs, with the reason. */
interface Row {
  readonly what: string
  readonly answer: number
  readonly xen?: { readonly answer: number; readonly because: string }
  run(scene: Scene): unknown
}

const list = (...frames: readonly number[]): Uint32Array => Uint32Array.from(frames)
const range = { addressLow: 0, addressHigh: 0, sizeLow: 4096, sizeHigh: 0, type: 1 }
const page = new Uint8Array(4096)

/** What a domain in TypeScript is made of. */
const TYPESCRIPT = { kind: 'typescript', createRunner: () => SLEEPER } as const

/** XEN_DOMCTL_createdomain, destroydomain. */
const LIFE: readonly Row[] = [
  { what: 'a domain', answer: 2, run: (s) => s.parts.lifecycle.create(TYPESCRIPT) },
  { what: 'a domain of a number that is free', answer: 9, run: (s) => s.parts.lifecycle.create({ ...TYPESCRIPT, domid: domId(9) }) },
  { what: 'a domain of a number that is taken', answer: -ERRNO.EEXIST, run: (s) => s.parts.lifecycle.create({ ...TYPESCRIPT, domid: s.guest.id }) },
  {
    what: 'a domain of a reserved number', answer: -ERRNO.ENOMEM, xen: { answer: 2, because: 'it takes it for a wish to choose' },
    run: (s) => s.parts.lifecycle.create({ ...TYPESCRIPT, domid: domId(0x7ff0) }),
  },
  { what: 'a domain without vCPUs', answer: -ERRNO.EINVAL, run: (s) => s.parts.lifecycle.create({ ...TYPESCRIPT, vcpus: 0 }) },
  { what: 'a domain of a kind that is not', answer: -ERRNO.EINVAL, run: (s) => s.parts.lifecycle.create({ kind: 'hvm' }) },
  { what: 'a domain in TypeScript without a program', answer: -ERRNO.EINVAL, run: (s) => s.parts.lifecycle.create({ kind: 'typescript' }) },
  {
    what: 'a domain for which there is no frame', answer: -ERRNO.ENOMEM,
    run: (s) => [drain(s, 0), s.parts.lifecycle.create(TYPESCRIPT)][1],
  },
  {
    what: 'a domain for which there is no frame for grants', answer: -ERRNO.ENOMEM,
    run: (s) => [drain(s, 1), s.parts.lifecycle.create(TYPESCRIPT)][1],
  },
  { what: 'the end of a domain', answer: 0, run: (s) => s.parts.lifecycle.dismantle(s.guest) },
  { what: 'the end of a domain that is dying', answer: 0, run: (s) => [s.foreignFrames.map(s.guest.id, s.own[0]!), s.parts.lifecycle.dismantle(s.guest), s.parts.lifecycle.dismantle(s.guest)][2] },
]

/** Leaves the host so many free frames. */
function drain({ parts, guest, reservation }: Scene, left: number): void {
  reservation.setMaximum(guest, 1e6)
  reservation.grow(guest, parts.domainMemory.free - left, [])
}

/** XEN_DOMCTL_pausedomain, unpausedomain, resumedomain; SCHEDOP_remote_shutdown. */
const ACTIVITY: readonly Row[] = [
  { what: 'pause', answer: 0, run: (s) => s.activity.pause(s.guest) },
  {
    what: 'pause for the 256th time', answer: -ERRNO.EOVERFLOW,
    run: (s) => Array.from({ length: 255 }, () => s.activity.pause(s.guest)).at(-1),
  },
  { what: 'unpause', answer: 0, run: (s) => s.activity.unpause(s.guest) },
  {
    what: 'unpause what is not paused', answer: -ERRNO.EINVAL,
    run: (s) => [s.activity.unpause(s.guest), s.activity.unpause(s.guest)][1],
  },
  { what: 'shut down', answer: 0, run: (s) => s.activity.shutdown(s.guest, SHUTDOWN.poweroff) },
  { what: 'resume what has not shut down', answer: 0, run: (s) => s.activity.resume(s.guest) },
  {
    what: 'resume what has shut down', answer: 1, xen: { answer: 0, because: 'it counts whom it has resumed' },
    run: (s) => [s.activity.shutdown(s.guest, SHUTDOWN.suspend), s.activity.resume(s.guest, 1)][1],
  },
  {
    what: 'resume what is dying', answer: 0,
    run: (s) => [s.activity.shutdown(s.guest, 0), s.parts.lifecycle.dismantle(s.guest), s.activity.resume(s.guest)][2],
  },
]

/** XEN_DOMCTL_max_mem; memory_op populate_physmap and decrease_reservation as guest_remove_page and their loops answer. */
const RESERVATION: readonly Row[] = [
  { what: 'a limit', answer: 0, run: (s) => s.reservation.setMaximum(s.guest, 99) },
  { what: 'a limit below what is owned', answer: 0, run: (s) => s.reservation.setMaximum(s.guest, 1) },
  {
    what: 'a limit of no number', answer: -ERRNO.EINVAL, xen: { answer: 0, because: 'no number of the ABI is one' },
    run: (s) => s.reservation.setMaximum(s.guest, 1.5),
  },
  { what: 'an extent beyond the limit', answer: -ERRNO.ENOMEM, run: (s) => s.reservation.increase(s.guest, 0, -1) },
  {
    what: 'an extent beyond the host', answer: -ERRNO.ENOMEM,
    run: (s) => [s.reservation.setMaximum(s.guest, 4096), s.reservation.increase(s.guest, 12, -1)][1],
  },
  { what: 'an extent of its own back', answer: 0, run: (s) => s.reservation.decrease(s.guest, s.own[3]!, 0) },
  { what: 'an extent of another domain back', answer: -ERRNO.ENXIO, run: (s) => s.reservation.decrease(s.guest, s.foreign[0]!, 0) },
  {
    what: 'a frame that the hypervisor shares with it back', answer: -ERRNO.ENXIO, xen: { answer: 0, because: 'it loses sight of it' },
    run: (s) => s.reservation.decrease(s.guest, s.guest.sharedInfoFrame, 0),
  },
  { what: 'frames up to the first that is not its own', answer: 2, run: (s) => s.reservation.shrink(s.guest, [s.own[0]!, s.own[1]!, s.foreign[0]!, s.own[2]!]) },
  { what: 'as many more as there is room for', answer: 3, run: (s) => [s.reservation.shrink(s.guest, s.own.slice(0, 3)), s.reservation.grow(s.guest, 9, [])][1] },
  { what: 'all or none', answer: -ERRNO.ENOMEM, run: (s) => [s.reservation.shrink(s.guest, s.own.slice(0, 3)), s.reservation.populate(s.guest, { count: 4 }, [])][1] },
  { what: 'a map of 128 ranges', answer: 0, run: (s) => setMemoryMap(s.guest, Array.from({ length: 128 }, () => range)) },
  { what: 'a map of 129 ranges', answer: -ERRNO.EINVAL, run: (s) => setMemoryMap(s.guest, Array.from({ length: 129 }, () => range)) },
]

/** MMU_MACHPHYS_UPDATE, XEN_DOMCTL_getpageframeinfo3, XEN_DOMCTL_hypercall_init, mmuext_op, XEN_DOMCTL_shadow_op. */
const FRAMES: readonly Row[] = [
  { what: 'facts of no frame', answer: -ERRNO.EINVAL, run: (s) => s.frames.info(100_000) },
  { what: 'bytes of a frame of another domain', answer: -ERRNO.EINVAL, run: (s) => s.frames.bytes(s.guest, s.foreign[0]!) },
  { what: 'a name for its own frame', answer: 0, run: (s) => s.frames.setMachineToPhys(s.guest, s.own[0]!, 7) },
  { what: 'a name for a frame of another domain', answer: -ERRNO.EINVAL, run: (s) => s.frames.setMachineToPhys(s.guest, s.foreign[0]!, 7) },
  { what: 'the name of no frame', answer: -ERRNO.EINVAL, run: (s) => s.frames.machineToPhys(100_000) },
  { what: 'the name of a frame without one', answer: -ERRNO.ENOENT, run: (s) => s.frames.machineToPhys(s.guest.sharedInfoFrame) },
  { what: 'kinds of frames, its own or not', answer: 0, run: (s) => s.frames.kinds(s.guest, list(s.own[0]!, 100_000), new Uint8Array(2)) },
  { what: 'a copy of frames, one of another domain', answer: -ERRNO.EINVAL, run: (s) => s.frames.read(s.guest, list(s.own[0]!, s.foreign[0]!), new Uint8Array(8192)) },
  { what: 'frames filled, one of another domain', answer: -ERRNO.EINVAL, run: (s) => s.frames.write(s.guest, list(s.foreign[0]!), page) },
  { what: 'stubs in a frame of another domain', answer: -ERRNO.EINVAL, run: (s) => stubs(s, s.foreign[0]!) },
  { what: 'stubs in a page table', answer: -ERRNO.EPERM, run: (s) => [s.guest.kind.pins!.pin(s.guest.id, s.own[0]!, 1), stubs(s, s.own[0]!)][1] },
  { what: 'stubs', answer: 0, run: (s) => stubs(s, s.own[0]!) },
  { what: 'a pin on a frame of another domain', answer: -ERRNO.EINVAL, run: (s) => s.guest.kind.pins!.pin(s.guest.id, s.foreign[0]!, 1) },
  { what: 'a second pin', answer: -ERRNO.EINVAL, run: (s) => [0, 1].map(() => s.guest.kind.pins!.pin(s.guest.id, s.own[0]!, 1))[1] },
  { what: 'no pin to be taken away', answer: -ERRNO.EINVAL, run: (s) => s.guest.kind.pins!.unpin(s.guest.id, s.own[0]!) },
  { what: 'the dirty log', answer: 0, run: (s) => s.logDirty.enable(s.guest) },
  { what: 'the dirty log twice', answer: -ERRNO.EINVAL, run: (s) => [0, 1].map(() => s.logDirty.enable(s.guest))[1] },
  { what: 'the end of a dirty log that is not', answer: -ERRNO.EINVAL, run: (s) => s.logDirty.disable(s.guest) },
  {
    what: 'a dirty log that is not', answer: -ERRNO.EINVAL, xen: { answer: 0, because: 'it answers with an empty bitmap' },
    run: (s) => s.logDirty.peek(s.guest),
  },
  {
    what: 'the dirty log of memory that notes no writes', answer: -ERRNO.EOPNOTSUPP, xen: { answer: 0, because: 'all memory does' },
    run: (s) => new LogDirty({ ...s.parts, tracking: {} }).enable(s.guest),
  },
  { what: 'a foreign mapping', answer: 0, run: (s) => s.foreignFrames.map(s.other.id, s.foreign[0]!) },
  { what: 'a foreign mapping of a frame that is somebody else\'s', answer: -ERRNO.EINVAL, run: (s) => s.foreignFrames.map(s.other.id, s.own[0]!) },
  {
    what: 'a foreign mapping of a page table', answer: -ERRNO.EINVAL,
    run: (s) => [s.other.kind.pins!.pin(s.other.id, s.foreign[0]!, 1), s.foreignFrames.map(s.other.id, s.foreign[0]!)][1],
  },
  { what: 'the end of a foreign mapping that is not', answer: -ERRNO.EINVAL, run: (s) => s.foreignFrames.unmap(s.foreign[0]!) },
]

const stubs = (s: Scene, frame: number): number => writeHypercallPage(s.parts, { domid: s.guest.id, frame }, (bytes) => bytes.fill(0xcc))

/** XEN_DOMCTL_getvcpucontext, get_vcpu_msrs, setvcpuaffinity, scheduler_op, for a kind of guest without registers. */
const VCPUS: readonly Row[] = [
  { what: 'registers where none are meant', answer: -ERRNO.EINVAL, run: (s) => s.vcpus.prepare(s.vcpu) },
  {
    what: 'registers for a dying domain', answer: -ERRNO.ESRCH, xen: { answer: 0, because: 'it still has what it executes on' },
    run: (s) => [s.parts.lifecycle.dismantle(s.guest), s.vcpus.prepare(s.vcpu)][1],
  },
  { what: 'registers of a vCPU without', answer: -ERRNO.ENODATA, run: (s) => s.vcpus.context(s.vcpu) },
  { what: 'model-specific registers of a vCPU without', answer: -ERRNO.EINVAL, run: (s) => s.vcpus.msrs(s.vcpu) },
  { what: 'model-specific registers for a vCPU without', answer: -ERRNO.EINVAL, run: (s) => s.vcpus.setMsrs(s.vcpu, []) },
  { what: 'a translation without page tables', answer: -ERRNO.EINVAL, run: (s) => s.vcpus.translate(s.vcpu, 0n) },
  { what: 'a start', answer: 0, run: (s) => s.vcpus.start(s.vcpu) },
  { what: 'an affinity', answer: 0, run: (s) => s.scheduling.setAffinity(s.vcpu, { hard: [0] }) },
  { what: 'an affinity to nothing', answer: -ERRNO.EINVAL, run: (s) => s.scheduling.setAffinity(s.vcpu, { hard: [] }) },
  { what: 'an affinity to what is not there', answer: -ERRNO.EINVAL, run: (s) => s.scheduling.setAffinity(s.vcpu, { soft: [7] }) },
  { what: 'a weight', answer: 0, run: (s) => s.scheduling.setParameters(s.guest, { values: { weight: 512 } }) },
  { what: 'a weight of nothing', answer: -ERRNO.EINVAL, run: (s) => s.scheduling.setParameters(s.guest, { values: { weight: 0 } }) },
]

/** EVTCHNOP_alloc_unbound, close, send on behalf of a domain; a grant of the builder's. */
const SHARING: readonly Row[] = [
  { what: 'a port for a domain that is not', answer: -ERRNO.ESRCH, run: (s) => s.parts.events.allocUnbound(s.guest.id, 77, 0) },
  { what: 'the end of a port that is not open', answer: -ERRNO.EINVAL, run: (s) => s.parts.events.close(s.guest.id, 9) },
  { what: 'an event to a port that is not open', answer: -ERRNO.EINVAL, run: (s) => s.parts.events.send(s.guest.id, 9) },
  { what: 'a grant beyond the table', answer: -ERRNO.EINVAL, run: (s) => s.parts.grants.seed(s.guest.id, 100_000, { remote: s.other.id, frame: s.own[0]! }) },
]

describe.each([
  ['life', LIFE], ['pausing and resuming', ACTIVITY], ['reservations', RESERVATION], ['frames', FRAMES], ['vCPUs', VCPUS], ['sharing', SHARING],
])('%s', (_family, rows) => {
  test.each(rows)('$what: $answer', ({ run, answer }) => {
    expect(run(scene())).toBe(answer)
  })

  test('differ from Xen only where a reason says so', () => {
    for (const { what, answer, xen } of rows) if (xen !== undefined) expect(xen.answer, what).not.toBe(answer)
  })
})

describe('what is given beside the number', () => {
  test('kinds of frames', () => {
    const { frames, guest, own, foreign } = scene()
    guest.kind.pins!.pin(guest.id, own[1]!, 2)
    const kinds = new Uint8Array(3)
    frames.kinds(guest, list(own[0]!, own[1]!, foreign[0]!), kinds)
    expect([...kinds]).toEqual([FRAME_KIND.MEMORY, 2 | FRAME_KIND.PINNED, FRAME_KIND.NOT_OWNED])
  })

  test('why the scheduler refuses', () => {
    const { scheduling, guest } = scene()
    const told: Told = {}
    scheduling.setParameters(guest, { values: { wieght: 1 } }, told)
    expect(told.fault?.message).toBe('this scheduler has no parameter wieght')
  })

  test('why a domain could not be made', () => {
    const { parts } = scene()
    const facts = {}
    parts.lifecycle.create({ kind: 'typescript', vcpus: 200 }, facts)
    expect(facts).toMatchObject({ cause: 'vcpus', vcpus: 200, most: 128 })
  })

  test('a refused operation has changed nothing', () => {
    const { reservation, frames, guest, own, foreign } = scene()
    const names: Mfn[] = []
    reservation.populate(guest, { count: 1 }, names)
    frames.write(guest, list(own[0]!, foreign[0]!), new Uint8Array(8192).fill(1))
    expect([names, guest.totalPages, (frames.bytes(guest, own[0]!) as Uint8Array).every((byte) => byte === 0)]).toEqual([[], 16, true])
  })
})
