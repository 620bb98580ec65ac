/**
 * The seam of guest kinds: a third kind, made up here, is given to the composition and runs, without a line of the
 * hypervisor that knows of it. Its vCPUs execute a list of words.
 */
import { describe, expect, test } from 'vitest'
import { ERRNO, GNTMAP, GNTST, HYPERVISOR, SHUTDOWN } from '../../../../src/abi/index.ts'
import { GUEST_KINDS, compose } from '../../../../src/hypervisor/composition.ts'
import type { CoreParts, HypervisorParts } from '../../../../src/hypervisor/hypervisor-parts.ts'
import { VcpuOperations } from '../../../../src/hypervisor/control/core/vcpus.ts'
import type { Domain, Vcpu } from '../../../../src/hypervisor/domains/domain.ts'
import type { GrantMapping } from '../../../../src/hypervisor/domains/domain-kind.ts'
import type { GuestKind } from '../../../../src/hypervisor/domains/guest-kind.ts'
import type { GuestVcpu } from '../../../../src/hypervisor/domains/guest-vcpu.ts'
import { HypercallArguments } from '../../../../src/hypervisor/domains/hypercall.ts'
import type { VcpuExit } from '../../../../src/hypervisor/domains/vcpu-runner.ts'
import { FRAME_TYPE } from '../../../../src/hypervisor/frames/frame-table.ts'
import { VirtualClock } from '../../../../src/hypervisor/index.ts'
import { type Mfn, SeededRandom, part, shape } from '../../../../src/util/index.ts'
import { PlainMemory, SLEEPER } from '../../../support/hypervisor-host.ts'

type Word = 'work' | 'call' | 'fault' | 'sleep'

/** Kind `words`: what a vCPU executes is in `words`, and what has happened to it in `log`. */
class Words implements GuestKind {
  readonly name = 'words'
  readonly hasRegisters = false
  readonly hypercalls: GuestKind['hypercalls']
  readonly log: string[] = []
  words: Word[] = []
  /** A frame that the kind says it uses, or -1. */
  used = -1
  readonly grants = {
    install: (_vcpu: Vcpu, { address, mfn }: GrantMapping): number => this.note(`map ${mfn} at ${address}`, GNTST.okay),
    remove: (_vcpu: Vcpu, { address }: GrantMapping): number => this.note(`unmap ${address}`, GNTST.okay),
    flush: (vcpu: Vcpu): void => void this.note(`flush vCPU ${vcpu.vcpu}`),
  }
  private readonly core: CoreParts

  constructor(core: CoreParts) {
    this.core = core
    this.hypercalls = core.tableOf(() => [{
      name: 'arch_7', source: 'nowhere', support: { level: 'full' }, handler: (caller) => this.note(`call of vCPU ${caller.vcpu}`, 7),
    }])
  }

  note(what: string, result = 0): number {
    this.log.push(what)
    return result
  }

  admit(): number {
    return 0
  }

  removed(vcpu: Vcpu): void {
    this.note(`vCPU ${vcpu.vcpu} is gone`)
  }

  createVcpu(vcpu: Vcpu): GuestVcpu {
    const { execution } = this.core
    const guest: GuestVcpu = {
      access: vcpu.access, kernelAccess: vcpu.access, hasPending: false, executed: 10,
      state: part({ name: 'words', version: 1, shape: shape.list(shape.oneOf<Word>('sleep', 'work', 'call', 'fault')) }, {
        save: () => [...this.words], load: (words) => void this.words.splice(0, this.words.length, ...words),
      }),
      run: () => this.execute(),
      enter: ({ kind }) => this.note(`entered at ${kind}`) === 0,
      deliver: () => execution.deliverUpcall(vcpu, guest),
      handle: (exit) => this.handle(vcpu, exit),
      uses: () => (this.used < 0 ? [] : [{ frame: this.used, type: FRAME_TYPE.NONE, what: 'a word' }]),
      drop: () => void this.note('dropped'),
    }
    return guest
  }

  private execute(): VcpuExit {
    const word = this.words.shift() ?? 'sleep'
    if (word === 'call') return { kind: 'syscall' }
    if (word === 'fault') return { kind: 'exception', vector: 6, errorCode: -1, address: 0 }
    return { kind: word === 'work' ? 'budget' : 'block' }
  }

  private handle(vcpu: Vcpu, exit: VcpuExit): void {
    if (exit.kind === 'exception') this.core.execution.crash(vcpu, `no word for ${exit.vector}`)
    else this.note(`gets ${this.hypercalls.call(vcpu, HYPERVISOR.arch_7, new HypercallArguments())}`)
  }
}

interface Scene {
  readonly parts: HypervisorParts
  readonly kind: Words
  readonly domain: Domain
  run(...words: Word[]): void
}

function scene(): Scene {
  let kind: Words | undefined
  const parts = compose(
    { memory: new PlainMemory(512), clock: new VirtualClock(), random: new SeededRandom(1) },
    [...GUEST_KINDS, (core) => (kind = new Words(core))],
  )
  const domain = parts.domains.get(parts.lifecycle.create({ kind: 'words', vcpus: 1, maxPages: 16 }))!
  parts.reservation.populate(domain, { count: 16, firstPfn: 0 }, [])
  expect(new VcpuOperations(parts).start(domain.vcpus[0]!)).toBe(0)
  domain.pauseCount = 0
  parts.execution.updateDomain(domain)
  return {
    parts, domain, kind: kind!,
    run(...words) {
      kind!.words = words
      parts.execution.wake(domain.vcpus[0]!)
      parts.loop.run({ instructions: 10_000 })
    },
  }
}

describe('a kind of guest that the hypervisor has never heard of', () => {
  test('runs, makes its own hypercalls, and takes events', () => {
    const { parts, kind, domain, run } = scene()
    run('work', 'call', 'work')
    expect(kind.log).toEqual(['call of vCPU 0', 'gets 7'])
    const port = parts.events.bindIpi(domain.id, 0)
    parts.memory.view.setUint8(domain.vcpuInfo(0) + 1, 0)
    parts.events.send(domain.id, port)
    parts.loop.run({ instructions: 100 })
    expect(kind.log.at(-1)).toBe('entered at event')
    expect(parts.check()).toEqual([])
  })

  test('has its hypercalls to itself', () => {
    const { parts } = scene()
    const other = parts.domains.get(parts.lifecycle.create({ kind: 'typescript', createRunner: () => SLEEPER }))!
    expect(parts.typedHypercallsOf(other).hypercall(HYPERVISOR.arch_7, [])).toBe(-ERRNO.ENOSYS)
  })

  test('crashes of what it does not take, and its domain is gone without a trace', () => {
    const { parts, kind, domain, run } = scene()
    run('fault')
    expect(domain).toMatchObject({ isShutDown: true, shutdownReason: SHUTDOWN.crash })
    expect(domain.crashReport).toMatchObject({ reason: 'no word for 6', state: undefined })
    parts.lifecycle.destroy(domain)
    expect(kind.log).toEqual(['dropped', 'vCPU 0 is gone'])
    expect(parts.domains.get(domain.id)).toBeUndefined()
    expect(parts.check()).toEqual([])
  })

  test('maps grants its own way', () => {
    const { parts, kind, domain } = scene()
    const giver = parts.domains.get(parts.lifecycle.create({ kind: 'typescript', createRunner: () => SLEEPER, maxPages: 4 }))!
    const frames: Mfn[] = []
    parts.reservation.populate(giver, { count: 4, firstPfn: 0 }, frames)
    parts.grants.seed(giver.id, 9 as never, { remote: domain.id, frame: frames[1]! })
    const request = { address: 0x1000, flags: GNTMAP.host_map, ref: 9, domid: giver.id }
    const { status, handle } = parts.grants.map(domain.vcpus[0]!, request)
    expect(status).toBe(GNTST.okay)
    expect(parts.grants.unmap(domain.vcpus[0]!, { handle, address: 0x1000, busAddress: 0, newAddress: 0 })).toBe(GNTST.okay)
    parts.grants.flush(domain.id)
    expect(kind.log).toEqual([`map ${frames[1]} at 4096`, 'unmap 4096', 'flush vCPU 0'])
  })

  test('is held to the references that it says it has', () => {
    const { parts, kind, domain } = scene()
    kind.used = domain.sharedInfoFrame
    expect(parts.check()).toEqual([{ frame: domain.sharedInfoFrame, what: expect.stringMatching(/counts 1 references, has 2/) }])
  })

  test('is refused by name on a host that does not have it', () => {
    const { parts } = scene()
    const facts = {}
    expect(parts.lifecycle.create({ kind: 'wordz' }, facts)).toBe(-ERRNO.EINVAL)
    expect(facts).toMatchObject({ cause: 'kind', kind: 'wordz', kinds: 'pv, pv32, pvh, typescript, words' })
  })
})
