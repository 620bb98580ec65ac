/** What a domain's handle is made of, and what it needs of its host. */
import type { DomId } from '../../util/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { Inputs } from '../run/inputs.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { Wishes } from '../run/wishes.ts'
import type { SavedDomain } from '../save/save-domain.ts'
import type { AskHost } from './ask-to-end.ts'
import type { ControlSeat } from '../control/control-seat.ts'
import type { ChannelHost } from './channel.ts'
import type { ScreenHost } from './screen.ts'
import type { ContentsHost } from '../devices/disk-contents.ts'
import type { DomainFate } from './domain-fate.ts'
import type { DomainMovement } from './domain-movement.ts'
import type { MemoryHost } from './memory-target.ts'
import type { SoftResetProgress } from './soft-reset.ts'
import type { TraceHost } from './trace-vcpu.ts'
import type { Availability } from './vcpu-target.ts'

/** What a handle needs of its host. */
export interface DomainHost<D> extends AskHost, TraceHost, ContentsHost, ChannelHost, ScreenHost {
  readonly memory: MemoryHost
  destroy(domid: DomId): Promise<void>
  readonly vcpuWishes: Wishes<Availability>
  onVcpuTarget(domid: DomId, vcpus: number): void
  readonly movement: DomainMovement<D & SavedDomain>
  readonly inputs: Inputs
  readonly seat: ControlSeat
  /** Gives the domain another name. Throws DOMAIN_EXISTS, INVALID_ARGUMENT, BUSY. */
  rename(domid: DomId, name: string): void
  /** Seconds since 1970. */
  wallSeconds(): number
  softReset(domain: D, options: OperationOptions): Operation<void, SoftResetProgress>
  /** A domain's configuration as it is now. */
  currentConfig(domain: D): DomainConfig<KernelSource>
}

/** Facts of a handle. */
export interface DomainIdentity {
  readonly fate: DomainFate
  readonly config: DomainConfig<KernelSource>
  readonly console: DomainConsole
}
