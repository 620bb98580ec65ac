/** The control interface's face of the host as a whole. */
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
  }
  readonly loop: { run(limits: RunLimits): RunResult }
}

/** Makes the face of the host. */
export function hostFace(parts: HostFaceParts): HostControl {
  const { hub, random, console, loop } = parts
  return {
    events: hub,
    random,
    hostInfo: () => describeHost(parts),
    readConsole: ({ clear = false } = {}) => console.read(clear),
    run: (limits = {}) => loop.run(limits),
  }
}
