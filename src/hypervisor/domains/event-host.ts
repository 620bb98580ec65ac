/** Domains as event channels see them: who may ask what, and pages that are written for a guest. */
import type { EventHost } from '../events/index.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import type { FrameTypes } from '../frames/frame-types.ts'
import type { Access } from './access.ts'
import type { DomainRegistry } from './registry.ts'

/** What a host's event channels need. */
export interface EventHostParts extends Pick<EventHost, 'memory' | 'meter'> {
  readonly domains: DomainRegistry
  readonly pageTypes: FrameTypes
  readonly access: Access
}

/** Makes what a host's event channels ask. */
export function eventHost({ memory, meter, domains, pageTypes, access }: EventHostParts): EventHost {
  return {
    memory, meter,
    mayControl: (caller, target) => domains.mayControl(caller, target, 'event_channel_op'),
    mayShare: (hook, caller, other) => access.mayShare(hook, caller, other),
    getWritablePage: (id, gfn) => {
      const mfn = domains.get(id)?.frameOf(gfn) ?? -1
      return pageTypes.getPageAndType(mfn, FRAME_TYPE.WRITABLE, id) === 0 ? mfn : -1
    },
    putWritablePage: (_id, mfn) => pageTypes.putPageAndType(mfn),
  }
}
