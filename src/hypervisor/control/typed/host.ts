/** The control interface's face of the host as a whole. */
import { HYPERVISOR } from '../../../abi/index.ts'
import type { EventHub, Random } from '../../../util/index.ts'
import type { RunLimits, RunResult } from '../../execution/run-limits.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import { type HostParts, describeHost } from '../core/info.ts'
import type { HostControl } from './control-interface.ts'

/** What the face of the host asks. */
export interface HostFaceParts extends HostParts {
  readonly hub: EventHub<HypervisorEvent>
  readonly random: Random
  readonly console: {
    /** The text so far, or its end where it was too long. */
    read(clear: boolean): string
    /** Lines of the hypervisor's own. */
    log(lines: readonly string[]): void
    /** Types at it; how many bytes there was room for. */
    type(bytes: Uint8Array): number
    /** Bytes that there is room for. */
    readonly room: number
  }
  readonly hypercallCounts: Float64Array
  readonly loop: { run(limits: RunLimits): RunResult; readonly isStanding: boolean; readonly executed: number }
}

/** Makes the face of the host. */
export function hostFace(parts: HostFaceParts): HostControl {
  const { hub, random, console, loop } = parts
  return {
    events: hub,
    random,
    hostInfo: () => describeHost(parts),
    readConsole: ({ clear = false } = {}) => console.read(clear),
    log: (lines) => console.log(lines),
    typeConsole: (bytes) => console.type(bytes),
    consoleRoom: () => console.room,
    hypercallCounts: () => Object.fromEntries(Object.entries(HYPERVISOR).map(([name, number]) => [name, parts.hypercallCounts[number] ?? 0] as const).filter(([, count]) => count > 0)),
    run: (limits = {}) => loop.run(limits),
    isStanding: () => loop.isStanding,
    executedInstructions: () => loop.executed,
    // Where a policy is asked it answers itself (guarded.ts).
    allows: () => true,
  }
}
