/**
 * PVH guests: kernels with ring 0, page tables and interrupts of their own, on processors whose physical memory the hypervisor
 * translates, with a local APIC and nothing else of a PC. Here their parts are put together. A processor is made when a vCPU
 * gets its first registers, and given back when its domain goes.
 * Reference: xen/arch/x86/hvm/hvm.c, hvm_domain_initialise with XEN_X86_EMU_LAPIC only.
 */
import { COMPAT, ERRNO, GNTMAP, GNTST, NATIVE } from '../../../abi/index.ts'
import type { CpuidSource } from '../../../machine/index.ts'
import { CR4, type CpuidAnswer, PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import { writeHypercallPage } from '../../control/core/hypercall-page.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { CpuidReader, DomainWishes, FrameLedger, GrantMapping, GrantMappings } from '../../domains/domain-kind.ts'
import { latchAbi } from '../../domains/shared-info.ts'
import type { GuestDomain } from '../../domains/guest-domain.ts'
import type { GuestKind } from '../../domains/guest-kind.ts'
import type { HypercallTable } from '../../domains/hypercall.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import { PLACE } from '../../frames/physical-map.ts'
import type { CpuidQuestion } from '../processors/cpuid.ts'
import { auditPhysmaps } from './audit.ts'
import { type CpuidPlace, queryPvhCpuid, pvhView } from './cpuid.ts'
import { CpuidAnswers } from './cpuid-answers.ts'
import { FIRST_REGISTERS_BYTES, setFirstRegisters } from './first-registers.ts'
import { HvmContexts } from './hvm-context.ts'
import { fillStubs } from './hypercall-stubs.ts'
import type { MsrSubject } from './msrs.ts'
import { OnDemand } from './on-demand.ts'
import { PvhPorts } from './ports.ts'
import { PvhCaches, PvhContext } from './pvh-context.ts'
import { PvhDomain, type PvhIdentity } from './pvh-domain.ts'
import { PvhExits } from './pvh-exits.ts'
import { pvhHypercalls } from './pvh-hypercalls.ts'
import { PvhLife } from './pvh-life.ts'
import type { PvhParts } from './pvh-parts.ts'
import { PvhVcpu, type PvhVcpuParts, interruptsOf, pvhOf } from './pvh-vcpu.ts'
import { beginTimestamp, joinTimestamp, setTimestampAdjust, timestampAdjust } from './timestamps.ts'
import type { TscScale } from '../../time/index.ts'

/** Makes the kind `pvh`. */
export const pvhGuests = (parts: PvhParts): GuestKind => new PvhGuests(parts)

class PvhGuests implements GuestKind {
  readonly name = 'pvh'
  readonly hasRegisters = true
  readonly hypercalls: HypercallTable
  readonly grants: GrantMappings<Vcpu>
  readonly firstRegisters = { size: FIRST_REGISTERS_BYTES, set: (vcpu: Vcpu, view: DataView) => {
    const pvh = pvhOf(vcpu)!
    const error = setFirstRegisters(pvh, view)
    if (error === 0) joinTimestamp(pvh)
    return error
  } }
  private readonly parts: PvhParts
  private readonly life: PvhLife
  private readonly contexts: HvmContexts
  private readonly vcpuParts: PvhVcpuParts

  constructor(parts: PvhParts) {
    this.parts = parts
    const { memory, tlb } = parts
    const own = { ...parts, latch: (caller: Vcpu) => this.latch(caller) }
    const [native, compat] = [NATIVE, COMPAT].map((abi) => parts.tableOf(() => pvhHypercalls(own, abi), abi)) as [HypercallTable, HypercallTable]
    this.hypercalls = native
    this.life = new PvhLife(parts)
    this.contexts = new HvmContexts({ life: this.life })
    this.grants = grantPlaces()
    const exits = new PvhExits({ ...parts, hypercalls: { native, compat }, ports: new PvhPorts(parts.console), msrsOf: (pvh) => this.msrsOf(pvh) })
    this.vcpuParts = {
      memory, exits,
      contextOf: (pvh) => new PvhContext(pvh, { memory, tlb, cpuid: (of, leaf, question) => this.cpuid(of.vcpu, { leaf, ...question }, of.processor) }),
      cachesOf: (pvh) => new PvhCaches(pvh, { memory, tlb }),
      release: (pvh) => {
        tlb.remove(pvh)
        pvh.processor.destroy()
      },
    }
  }

  admit({ vcpus }: DomainWishes, facts: RefusalFacts): number {
    const { free } = this.parts.processors
    return vcpus <= free ? 0 : because(facts, { cause: 'processors', free }, -ERRNO.ENOMEM)
  }

  createDomain(identity: PvhIdentity): GuestDomain {
    const { parts } = this
    return new PvhDomain(identity, {
      ...parts, life: this.life, contexts: this.contexts,
      onDemandOf: ({ physmap }) => new OnDemand(physmap, {
        ...parts, domain: () => parts.domains.get(identity.id)!,
        exhausted: (gfn) => this.life.crash(identity, `it has no memory left for frame ${gfn.toString(16)}, which was to come on demand`),
      }),
    })
  }

  added(): void {
    this.parts.processors.reserve()
  }

  removed({ owner, vcpu }: Vcpu): void {
    this.parts.processors.release()
    // Its timer goes with it.
    if (owner.guest instanceof PvhDomain) owner.guest.apics[vcpu]!.reset()
  }

  createVcpu(vcpu: Vcpu): PvhVcpu | number {
    const { parts } = this
    const domain = vcpu.owner.guest as PvhDomain
    const processor = parts.processors.createVirtualised({
      topology: { index: vcpu.vcpu, count: vcpu.owner.vcpuCount }, cpuid: this.cpuidOf(vcpu),
      physical: { frame: (gfn) => domain.physmap.entry(gfn) }, interrupts: interruptsOf(() => pvhOf(vcpu)),
    }, domain)
    if (typeof processor === 'number') return processor
    const pvh = new PvhVcpu(vcpu, domain, { processor, parts: this.vcpuParts })
    beginTimestamp(pvh)
    parts.tlb.add(pvh)
    return pvh
  }

  audit(ledger: FrameLedger): void {
    auditPhysmaps(this.parts, ledger)
  }

  /** What the vCPU's own CPUID answers; its processor asks for it once it is there. */
  private cpuidOf(vcpu: Vcpu): CpuidSource {
    const answers = new CpuidAnswers()
    return {
      read: (leaf, subleaf) => {
        const processor = pvhOf(vcpu)?.processor
        if (processor === undefined) return [0, 0, 0, 0]
        const { cpuPolicy: own } = vcpu.owner
        const isXsaveOn = (processor.registers.controlLow(4) & CR4.OSXSAVE) !== 0
        const answer = (): CpuidAnswer => this.cpuid(vcpu, { leaf, subleaf, own, now: { isXsaveOn }, time: vcpu.owner.tsc.facts }, processor)
        return answers.of({ leaf, subleaf }, { own, isXsaveOn, xcr0: processor.registers.xcr0(), tsc: (vcpu.owner.guest as PvhDomain).tsc, time: vcpu.owner.tsc.facts }, answer)
      },
    }
  }

  describeProcessor(processor: CpuidReader, leaf: number, subleaf: number): CpuidAnswer {
    return this.answer({ leaf, subleaf }, { place: { vcpu: 0, count: 1, domid: 0 }, tsc: this.parts.tsc }, processor)
  }

  private cpuid(vcpu: Vcpu, question: CpuidQuestion, processor: PvhVcpu['processor']): CpuidAnswer {
    const { tsc } = vcpu.owner.guest as PvhDomain
    return this.answer(question, { place: { vcpu: vcpu.vcpu, count: vcpu.owner.vcpuCount, domid: vcpu.domid }, tsc }, processor)
  }

  private answer(question: CpuidQuestion, { place, tsc }: { readonly place: CpuidPlace; readonly tsc: TscScale }, processor: CpuidReader): CpuidAnswer {
    const { memory, options } = this.parts
    return queryPvhCpuid(question, {
      view: pvhView(place), place, tscKilohertz: tsc.kilohertz, hostKilohertz: this.parts.tsc.kilohertz, cpuidPolicy: options.cpuidPolicy, addressBits: Math.ceil(Math.log2(memory.endFrame)) + PAGE_SHIFT,
    }, processor)
  }

  /** What a domain shares with the hypervisor is laid out for the mode of whoever takes its first steps with it. */
  private latch(vcpu: Vcpu): void {
    latchAbi(this.parts, vcpu.owner, pvhOf(vcpu)?.isLongCode === false ? COMPAT : NATIVE)
  }

  private msrsOf(pvh: PvhVcpu): MsrSubject {
    const { parts } = this
    const { domain, vcpu } = pvh
    const index = vcpu.vcpu
    return {
      apic: domain.apics[index]!, memoryTypes: domain.memoryTypes[index]!,
      writeHypercallPage: (gfn) => {
        const isDone = writeHypercallPage(parts, { domid: domain.id, frame: domain.physmap.frame(gfn) }, fillStubs) === 0
        if (isDone) this.latch(vcpu)
        return isDone
      },
      get timestampAdjust() {
        return timestampAdjust(pvh)
      },
      set timestampAdjust(value) {
        setTimestampAdjust(pvh, value)
      },
    }
  }
}

/** Grants are mapped at places of the physical map, whose references their mappings hold. */
function grantPlaces(): GrantMappings<Vcpu> {
  const kindOf = (flags: number): typeof PLACE.GRANTED | typeof PLACE.GRANTED_READONLY => (flags & GNTMAP.readonly) === 0 ? PLACE.GRANTED : PLACE.GRANTED_READONLY
  const domainOf = ({ owner }: Vcpu): PvhDomain => owner.guest as PvhDomain
  return {
    install(vcpu, { address, mfn, flags }: GrantMapping) {
      const isPlain = (flags & ~GNTMAP.readonly) === GNTMAP.host_map && address >= 0
      if (!isPlain) return GNTST.general_error
      return domainOf(vcpu).physmap.placeOthers(Math.floor(address / PAGE_SIZE), mfn, kindOf(flags)) === 0 ? GNTST.okay : GNTST.general_error
    },
    remove(vcpu, { address, mfn, newAddress, flags }) {
      const { physmap } = domainOf(vcpu)
      const gfn = Math.floor(address / PAGE_SIZE)
      // A frame that is mapped twice may be written at one place only: that one goes with the mapping that lets it be written.
      const isGranted = physmap.kind(gfn) === kindOf(flags)
      if (newAddress !== 0 || (flags & GNTMAP.contains_pte) !== 0 || !isGranted || physmap.present(gfn) !== mfn) return GNTST.general_error
      physmap.remove(gfn)
      return GNTST.okay
    },
    // What a place held was forgotten when it was taken away.
    flush: () => undefined,
  }
}
