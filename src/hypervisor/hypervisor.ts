/**
 * The hypervisor as its users see it: the faces of the control interface over the parts that composition.ts puts together.
 * What an operation does is in control/core, what it throws in control/typed.
 */
import { ERRNO } from '../abi/index.ts'
import {
  type Check, type DomId, type OptionChecks, anything, callable, checkOptions, having, oneOf, real, text, whole,
} from '../util/index.ts'
import { type Finding, checkInvariants } from './checks/invariants.ts'
import { hashState } from './checks/state-hash.ts'
import { type HypervisorOptions, type HypervisorParts, compose } from './composition.ts'
import { DomainActivity } from './control/core/activity.ts'
import { ForeignFrames } from './control/core/foreign-frames.ts'
import { Frames } from './control/core/frames.ts'
import { writeHypercallPage } from './control/core/hypercall-page.ts'
import { LogDirty } from './control/core/log-dirty.ts'
import { Scheduling } from './control/core/scheduling.ts'
import { VcpuOperations, type VcpuParts } from './control/core/vcpus.ts'
import type { ControlInterface } from './control/typed/control-interface.ts'
import { domainFace } from './control/typed/domains.ts'
import { hostFace } from './control/typed/host.ts'
import { memoryFace } from './control/typed/memory.ts'
import { sharingFace } from './control/typed/sharing.ts'
import { vcpuFace } from './control/typed/vcpus.ts'
import { fillHypercallPage } from './guests/pv/hypercall-page.ts'
import type { DomainPort } from './guests/typescript/port.ts'
import { SCHEDULER_NAMES } from './scheduler/index.ts'

const bigint: Check = (value) => (typeof value === 'bigint' ? undefined : `must be a BigInt, got ${String(value)}`)

const HYPERVISOR_CHECKS: OptionChecks<HypervisorOptions> = {
  memory: /* @__PURE__ */ having('markWritten'), clock: /* @__PURE__ */ having('now'), random: /* @__PURE__ */ having('next'),
  createProcessor: callable, processors: /* @__PURE__ */ whole(0, 2 ** 20), scheduler: /* @__PURE__ */ oneOf(...SCHEDULER_NAMES),
  physicalCpus: /* @__PURE__ */ whole(1, 2 ** 12), tscKilohertz: /* @__PURE__ */ real(1, 1e9), bootTime: bigint,
  commandLine: text, cpuidPolicy: anything, portion: /* @__PURE__ */ real(1, Infinity), onListenerError: callable,
}

/** Everything of {@link ControlInterface}, and what only a hypervisor of this library has. */
export interface Hypervisor extends ControlInterface {
  /** The typed hypercall door of a domain. */
  port(domid: DomId): DomainPort
}

/**
 * A hypervisor.
 *
 * @example
 * const machine = new Machine({ memoryBytes: 256 << 20 })
 * const hypervisor = new Hypervisor({
 *   memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1),
 *   createProcessor: (options) => machine.createProcessor(options),
 * })
 * const domid = hypervisor.createDomain({ kind: 'pv', maxPages: 8192 })
 */
export class Hypervisor {
  private readonly parts: HypervisorParts
  /** Frames that the toolstack has mapped. */
  private readonly foreignFrames: ForeignFrames

  constructor(options: HypervisorOptions) {
    checkOptions('Hypervisor', options, HYPERVISOR_CHECKS)
    this.parts = compose(options)
    this.foreignFrames = new ForeignFrames(this.parts)
    Object.assign(this, controlOf(options, this.parts, this.foreignFrames))
    this.parts.late.check = () => this.checkInvariants()
  }

  /** Recounts frame table, page tables, ports and grants; what does not add up. For tests and fault finding. */
  checkInvariants(): Finding[] {
    return checkInvariants(this.parts, this.foreignFrames.frames())
  }

  /** 16 digits for all that guests can see: the same inputs give the same, at every moment. */
  stateHash(): string {
    return hashState(this.parts)
  }

  /** Numbers of the hypercalls that some kind of guest has. */
  get hypercallNumbers(): readonly number[] {
    return [...new Set(Object.values(this.parts.hypercalls).flatMap(({ numbers }) => numbers))]
  }
}

/** The faces, each over its part of the core. */
function controlOf(options: HypervisorOptions, parts: HypervisorParts, foreignFrames: ForeignFrames): ControlInterface {
  return {
    ...hostFace(parts),
    ...domainFace({ ...parts, activity: new DomainActivity(parts) }),
    ...memoryFace({
      ...parts, foreignFrames, hostFrames: new Frames(parts), logDirty: new LogDirty({ ...parts, tracking: options.memory }),
      tables: {
        pin: (domain, mfn, level) => parts.mmu.pin(domain, mfn, level),
        unpin: (domain, mfn) => parts.mmu.unpin(domain, mfn),
        writeHypercallPage: ({ id: domid }, frame) => writeHypercallPage(parts, { domid, frame }, fillHypercallPage),
      },
    }),
    ...vcpuFace({ ...parts, vcpus: new VcpuOperations(vcpuParts(options, parts)), scheduling: new Scheduling(parts) }),
    ...sharingFace(parts),
  }
}

function vcpuParts(options: HypervisorOptions, parts: HypervisorParts): VcpuParts {
  const { contexts, execution, portOf, privileged, pvVcpus } = parts
  return {
    execution,
    portOf,
    prepare(vcpu) {
      if (vcpu.owner.kind !== 'pv') return -ERRNO.EINVAL
      if (pvVcpus.has(vcpu)) return 0
      return options.createProcessor === undefined ? -ERRNO.EOPNOTSUPP : -ERRNO.ENOMEM
    },
    contextOf(vcpu) {
      const { pv } = vcpu
      if (pv === undefined) return undefined
      return {
        registers: pv.processor.registers,
        set: (context) => contexts.set(vcpu, context),
        get: () => contexts.get(vcpu, pv),
        cpuid: (leaf, subleaf, own) => privileged.query(pv, { leaf, subleaf, own }),
        trace: (hooks) => pv.processor.trace(hooks),
      }
    },
  }
}
