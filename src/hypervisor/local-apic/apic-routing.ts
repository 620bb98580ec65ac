/**
 * Whom an interrupt of a local APIC reaches within its domain, and what it does there: destinations physical and logical,
 * shorthands, lowest priority. What INIT, start-up and NMI mean for a vCPU is its kind's.
 * Reference: xen/arch/x86/hvm/vlapic.c, vlapic_ipi, vlapic_match_dest, vlapic_lowest_prio.
 */
import type { Ipi, LocalApic } from './local-apic.ts'
import { APIC, DELIVERY, ICR, SHORTHAND } from './registers.ts'

/** What comes of interrupts that are no vectors, for a vCPU by its number. */
export interface ApicActions {
  readonly nmi: (vcpu: number) => void
  /**
   * INIT: the vCPU stops and is reset, and its local APIC then. False for one that waits for its start-up already, which INIT
   * is nothing to: what has come for it meanwhile stays.
   */
  readonly initialise: (vcpu: number) => boolean
  /** Start-up at `vector` times 4096; of a vCPU that runs nothing becomes. */
  readonly startUp: (vcpu: number, vector: number) => void
  /** A delivery mode that Xen ends a domain for. */
  readonly crash: (reason: string) => void
}

const FLAT = 0xffff_ffff
const CLUSTERS = 0x0fff_ffff
const EVERYBODY = [0xff, 0xffff_ffff] as const
const FIRST_VECTOR = 16

function matchesLogical(target: LocalApic, destination: number): boolean {
  const logical = target.registers.get(APIC.LDR)
  if (target.isX2apic) return logical >>> 16 === destination >>> 16 && (logical & destination & 0xffff) !== 0
  const [own, wanted] = [logical >>> 24, destination & 0xff]
  const format = target.registers.get(APIC.DFR)
  if (format === FLAT) return (own & wanted) !== 0
  return format === CLUSTERS && own >>> 4 === wanted >>> 4 && (own & wanted & 15) !== 0
}

/** Whether an interrupt from `source` is for `target`. */
export function reaches(target: LocalApic, source: LocalApic, { command, destination }: Ipi): boolean {
  switch (command & ICR.SHORTHAND) {
    case SHORTHAND.SELF: return target === source
    case SHORTHAND.ALL: return true
    case SHORTHAND.OTHERS: return target !== source
    default:
  }
  if ((command & ICR.LOGICAL) !== 0) return matchesLogical(target, destination)
  return destination === EVERYBODY[target.isX2apic ? 1 : 0] || destination === target.identifier
}

/** Interrupts between the vCPUs of one domain. */
export class ApicRouting {
  private readonly apics: readonly LocalApic[]
  private readonly actions: ApicActions
  /** The vCPU that has got the last interrupt of lowest priority: the next comes behind it. */
  private last = 0

  /** `apics`: those of the domain's vCPUs by number; further ones may be added to it later. */
  constructor(apics: readonly LocalApic[], actions: ApicActions) {
    this.apics = apics
    this.actions = actions
  }

  /** Delivers what `source` sends. */
  send(source: LocalApic, ipi: Ipi): void {
    const mode = ipi.command & ICR.MODE
    const vector = ipi.command & ICR.VECTOR
    const needsVector = mode === DELIVERY.FIXED || mode === DELIVERY.LOWEST
    if (needsVector && vector < FIRST_VECTOR) {
      source.refuseVector()
      return
    }
    const targets = this.apics.filter((target) => reaches(target, source, ipi))
    if (mode === DELIVERY.LOWEST) this.lowest(targets)?.receive(vector)
    else for (const target of targets) this.deliver(target, ipi.command)
  }

  private deliver(target: LocalApic, command: number): void {
    switch (command & ICR.MODE) {
      case DELIVERY.FIXED:
        if (target.isEnabled) target.receive(command & ICR.VECTOR)
        return
      case DELIVERY.NMI: return this.actions.nmi(target.vcpu)
      case DELIVERY.INIT:
        // The de-assertion of the oldest APICs has no meaning.
        if ((command & (ICR.LEVEL | ICR.ASSERT)) === ICR.LEVEL) return
        if (this.actions.initialise(target.vcpu)) target.initialise()
        return
      case DELIVERY.STARTUP: return this.actions.startUp(target.vcpu, command & ICR.VECTOR)
      case DELIVERY.SMI:
      case DELIVERY.REMOTE_READ:
        return
      default: this.actions.crash(`a local APIC's delivery mode ${(command & ICR.MODE) >>> 8}`)
    }
  }

  /** Of equals the first behind the one that was chosen last. */
  private lowest(targets: readonly LocalApic[]): LocalApic | undefined {
    const count = this.apics.length
    const place = (target: LocalApic): number => (target.vcpu - this.last - 1 + count) % count
    let best: LocalApic | undefined
    for (const target of [...targets].sort((a, b) => place(a) - place(b))) {
      if (target.isEnabled && (best === undefined || target.processorPriority < best.processorPriority)) best = target
    }
    if (best !== undefined) this.last = best.vcpu
    return best
  }

  /** Number of the vCPU that has got the last interrupt of lowest priority, as plain data. */
  save(): number {
    return this.last
  }

  load(last: number): void {
    this.last = last
  }
}
