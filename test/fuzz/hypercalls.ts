/**
 * A seeded fuzzer of hypercalls: hostile guests make calls with arguments near valid ones, on two vCPUs each, by the door
 * of guests in TypeScript and through the run loop with traps in between; a victim lies still beside them. Nothing may
 * throw, the victim's memory may not change, and the invariant checker has to find everything counted. A failing run is
 * repeated by its seed.
 */
import { DOMID, FLAT, HYPERVISOR, MMU } from '../../src/abi/index.ts'
import { EXIT } from '../../src/machine/index.ts'
import { SeededRandom, below } from '../../src/util/index.ts'
import { GPR } from '../../src/x86/index.ts'
import { READ, WRITE, type TestGuest, type TestHost } from '../support/hypervisor-host.ts'
import { BASE, MAPPED, PvGuest } from '../support/pv-guest.ts'
import type { Step } from '../../src/testing/index.ts'
import { GENERATORS } from './hypercall-generators.ts'
import { type Attacker, type Call, RECURSIVE, Tools } from './hypercall-tools.ts'

/** What a run did. */
export interface FuzzCounts {
  readonly calls: number
  readonly succeeded: number
  readonly checks: number
  /** Calls by hypercall number that ended well, to see that the fuzzer reaches what it aims at. */
  readonly reached: ReadonlyMap<number, number>
}

/** Calls between two looks at everything. */
const CHECK_EVERY = 500
/** One of so many steps lets the guest's processors run. */
const RUN_EVERY = 40
/** Instructions of such a run, and steps that a processor takes in it at most. */
const RUN_INSTRUCTIONS = 3000
const RUN_STEPS = 6
const ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9] as const
const PRIVILEGED = ['cpuid', 'rdmsr', 'wrmsr', 'rdtsc', 'rdtscp', 'read-cr', 'write-cr', 'read-dr', 'write-dr', 'clts', 'in', 'out', 'cli', 'hlt', 'invlpg', 'other'] as const
/** Handlers of all exceptions, so that few of them are the end. */
const TRAPS = Array.from({ length: 32 }, (_, vector) => ({ vector, flags: vector & 7, cs: FLAT.KERNEL_CS64, address: BigInt(0x3000 + vector * 16) }))

/** A host with attackers and a victim. */
export class HypercallFuzzer {
  private readonly random: SeededRandom
  private readonly host: TestHost
  private readonly pv: PvGuest
  private readonly attackers: Attacker[]
  private readonly victim: TestGuest
  private readonly digest: number
  private readonly reached = new Map<number, number>()
  private calls = 0
  private succeeded = 0
  private checks = 0

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    const pv = PvGuest.boot({ traps: TRAPS }, { maxPages: 80, physicalCpus: 2 })
    this.pv = pv
    this.host = pv.host
    this.victim = this.host.guest({ pages: 64 })
    const bare = this.host.guest({ pages: 64, maxPages: 96, vcpus: 2 })
    const third = this.host.guest({ pages: 40, maxPages: 64 })
    const attacker = (guest: TestGuest, vcpus: number, base: number): Attacker =>
      ({ guest, vcpus, frames: guest.frames, shared: [], pointer: (offset) => base + offset })
    this.attackers = [attacker(pv, 2, BASE), attacker(bare, 2, bare.scratch), attacker(third, 1, third.scratch)]
    this.prepare()
    this.lookAgain()
    for (const mfn of this.victim.frames) for (let i = 0; i < 4096; i += 64) this.host.memory.view.setUint32(mfn * 4096 + i, this.random.next(), true)
    this.digest = this.victimDigest()
  }

  /** Gives the PV guest a second vCPU, and maps its top-level table into itself. */
  private prepare(): void {
    const { hypervisor, memory } = this.host
    hypervisor.setVcpuContext(this.pv.domid, 1, PvGuest.context(this.pv.l4, { traps: TRAPS, kernelSp: BigInt(BASE + 30 * 4096) }))
    memory.view.setBigUint64(this.pv.scratch, BigInt(this.pv.l4 * 4096 + RECURSIVE * 8 + MMU.NORMAL_PT_UPDATE), true)
    memory.view.setBigUint64(this.pv.scratch + 8, BigInt(((this.pv.l4 << 12) | READ) >>> 0), true)
    this.pv.call('mmu_update', BASE, 1, 0, DOMID.SELF)
  }

  /** Makes `calls` hypercalls; throws where a promise is broken. */
  run(calls: number): FuzzCounts {
    for (let i = 0; i < calls; i += 1) {
      this.step()
      if ((i + 1) % CHECK_EVERY === 0) this.check()
    }
    this.check()
    return { calls: this.calls, succeeded: this.succeeded, checks: this.checks, reached: this.reached }
  }

  /** Ends all domains; frames that are free then, and at boot. */
  finish(): { readonly free: number; readonly atBoot: number } {
    const { hypervisor } = this.host
    for (const { domid } of hypervisor.listDomains()) if (hypervisor.hasDomain(domid)) hypervisor.destroyDomain(domid)
    return { free: hypervisor.hostInfo().freeFrames, atBoot: this.host.freeAtBoot }
  }

  private step(): void {
    const attacker = this.pick(this.attackers)
    if (!this.canWrite(attacker)) return
    if (below(this.random, RUN_EVERY) === 0) this.letRun()
    const tools = this.tools(attacker)
    if (tools.chance(8)) tools.scribble()
    const [name, ...args] = this.pick(GENERATORS)(tools)
    const number = HYPERVISOR[name]
    const { hypervisor } = this.host
    const result = hypervisor.port(attacker.guest.domid).hypercall(number, args, below(this.random, attacker.vcpus))
    this.calls += 1
    const { shutdown, crashed } = hypervisor.domainInfo(attacker.guest.domid)
    if (shutdown || crashed) hypervisor.resumeDomain(attacker.guest.domid)
    if (result < 0) return
    this.succeeded += 1
    this.reached.set(number, (this.reached.get(number) ?? 0) + 1)
  }

  /** Runs the PV guest's processors: hypercalls with their continuations on both, traps, instructions to carry out. */
  private letRun(): void {
    const { hypervisor } = this.host
    // The arguments of its calls are written at once: not where a page table is by now.
    if (!this.canWrite(this.attackers[0]!)) return
    const tools = this.tools(this.attackers[0]!)
    for (const { script } of this.pv.processors) {
      script.length = 0
      for (let i = below(this.random, RUN_STEPS); i > 0; i -= 1) script.push(...this.instructions(tools))
    }
    hypervisor.run({ instructions: RUN_INSTRUCTIONS })
    const { shutdown, crashed } = hypervisor.domainInfo(this.pv.domid)
    if (shutdown || crashed) hypervisor.resumeDomain(this.pv.domid)
  }

  /** What one processor does next. A call that is not finished is made again by the next step. */
  private instructions(tools: Tools): Step[] {
    const stack = tools.chance(6) ? tools.pointer(2048) : BASE + (MAPPED - 1 - tools.below(2)) * 4096 - 256
    const onStack = (step: Step): Step => (registers) => {
      registers.set(GPR.rsp, stack >>> 0, Math.floor(stack / 2 ** 32) >>> 0)
      return step(registers)
    }
    const again: Step = () => ({ reason: EXIT.SYSCALL })
    switch (tools.below(6)) {
      case 0: return [onStack(() => ({
        reason: EXIT.EXCEPTION, vector: tools.below(20), errorCode: tools.below(32), address: tools.pointer(tools.below(4096)),
      }))]
      case 1: return [onStack(() => ({ reason: EXIT.INTERRUPT, vector: tools.below(256) }))]
      case 2: return [onStack((registers) => {
        for (const register of [GPR.rax, GPR.rcx, GPR.rdx]) registers.set(register, tools.chance(2) ? tools.below(64) : tools.random.next(), 0)
        const request = { operation: tools.pick(PRIVILEGED), length: 2, size: tools.pick([1, 2, 4]), register: tools.below(9), general: tools.below(16), port: tools.below(65536) }
        return { reason: EXIT.PRIVILEGED, request }
      })]
      case 3: return [onStack((registers) => {
        registers.set(GPR.rax, HYPERVISOR.iret, 0)
        return { reason: EXIT.SYSCALL }
      })]
      default: return [this.syscall(this.pick(GENERATORS)(tools)), ...tools.chance(2) ? [again] : []]
    }
  }

  private syscall([name, ...args]: Call): Step {
    return (registers) => {
      ARGUMENTS.forEach((register, i) => registers.set(register, (args[i] ?? 0) >>> 0, Math.floor((args[i] ?? 0) / 2 ** 32) >>> 0))
      registers.set(GPR.rax, HYPERVISOR[name], 0)
      return { reason: EXIT.SYSCALL }
    }
  }

  /** False once the attacker has given its argument frame away, or made a table of it. */
  private canWrite({ guest }: Attacker): boolean {
    const { owner, type, typeCount } = this.host.hypervisor.frameInfo(guest.frames[0]!)
    return owner === guest.domid && (typeCount === 0 || type === 'writable')
  }

  private check(): void {
    this.checks += 1
    // Where it still can, the PV guest maps its argument frame again: without it, all of its calls are faults.
    this.pv.call('update_va_mapping', BASE, ((this.pv.frames[0]! << 12) | WRITE) >>> 0, 0)
    this.lookAgain()
    const problems = this.host.problems()
    if (problems.length > 0) throw new Error(`after ${this.calls} calls: ${problems.slice(0, 5).join('; ')}`)
    if (this.victimDigest() !== this.digest) throw new Error(`after ${this.calls} calls the victim's memory has changed`)
    const { totalPages, shutdown, crashed } = this.host.hypervisor.domainInfo(this.victim.domid)
    if (totalPages !== this.victim.frames.length || shutdown || crashed) throw new Error(`after ${this.calls} calls the victim is not itself`)
  }

  /** What the attackers own changes: they give frames away, get others, and exchange them. */
  private lookAgain(): void {
    for (const attacker of this.attackers) {
      const { guest } = attacker
      const { hypervisor } = this.host
      attacker.frames = hypervisor.domainFrames(guest.domid).filter((mfn) => mfn !== guest.frames[0])
      const table = hypervisor.port(guest.domid).setupGrantTable(1)
      attacker.shared = [hypervisor.domainInfo(guest.domid).sharedInfoFrame, ...typeof table === 'number' ? [] : table]
    }
  }

  private victimDigest(): number {
    let digest = 0
    for (const mfn of this.victim.frames) {
      for (let i = 0; i < 1024; i += 1) digest = (Math.imul(digest, 31) + this.host.memory.words[mfn * 1024 + i]!) | 0
    }
    return digest
  }

  private pick<T>(list: readonly T[]): T {
    return list[below(this.random, list.length)]!
  }

  private tools(attacker: Attacker): Tools {
    return new Tools(this.random, { host: this.host, attacker, attackers: this.attackers, victim: this.victim })
  }
}
