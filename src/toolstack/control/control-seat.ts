/** What the calls of this room work on: the control interface, XenStore, and the host's door and events. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, Random } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { RunLoop } from '../run/run-loop.ts'
import type { ControlEvent } from './control-events.ts'

/** A call by its name and arguments, all of them plain data, so that it can be made again. */
export interface PlainCall {
  readonly name: string
  readonly arguments: readonly unknown[]
}

/** What they need of their host. */
export interface ControlSeat {
  readonly control: ControlInterface
  readonly store: LocalStore
  readonly loop: RunLoop
  readonly random: Random
  /** A domain's name. */
  nameOf(domid: DomId): string
  emit(event: ControlEvent): void
  /** Lets a call in by the host's door. */
  enter<T>(call: PlainCall, act: () => T): T
}
