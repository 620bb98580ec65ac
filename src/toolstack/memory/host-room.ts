/** A host as make-room.ts wants it: domains' targets in XenStore, waits in host time. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { memorySettings, PAGES_PER_MEBIBYTE, SLACK_PAGES, targetNode } from '../domains/memory-settings.ts'
import type { OperationContext } from '../run/operation.ts'
import type { RunLoop } from '../run/run-loop.ts'
import { makeRoom, type RoomHost } from './make-room.ts'
import type { MemoryPolicy } from './memory-policy.ts'

/** What it works on. */
export interface RoomSeat {
  readonly control: ControlInterface
  readonly store: LocalStore
  readonly loop: RunLoop
  nameOf(domid: DomId): string
  /** Who gives memory up for a new domain; undefined where nobody does. */
  readonly memoryPolicy: MemoryPolicy | undefined
}

/** Host time in which a domain that was asked is to give something. */
const PATIENCE = '10s'

const mebibytes = (pages: number): number => pages / PAGES_PER_MEBIBYTE

function roomHost({ control, store, loop, nameOf }: RoomSeat, context: Pick<OperationContext<never>, 'signal'>): RoomHost {
  return {
    view: () => {
      const { totalFrames, freeFrames, outstandingFrames } = control.hostInfo()
      return {
        total: mebibytes(totalFrames), free: mebibytes(freeFrames - outstandingFrames), claimed: mebibytes(outstandingFrames),
        domains: control.listDomains().filter(({ dying }) => !dying).map(({ domid, totalPages }) => {
          const { target, maximum } = memorySettings(store, domid)
          const memory = mebibytes(totalPages)
          return { domid, name: nameOf(domid), memory, target: target ?? memory, maximum: maximum ?? target ?? memory }
        }),
      }
    },
    setTarget: (domid, target) => {
      // One that has gone meanwhile is asked for nothing.
      if (control.hasDomain(domid as DomId)) store.write(targetNode(domid as DomId), String(Math.round(target * 1024)))
    },
    wait: (met) => loop.until('memory to come free', met, { timeout: PATIENCE, signal: context.signal }).then(() => true, (error: unknown) => {
      if (XenError.is(error, 'TIMED_OUT') || XenError.is(error, 'IDLE')) return false
      throw error
    }),
  }
}

/** Has other domains give memory up where so many pages are not free: false when they do not. */
export async function roomFor(seat: RoomSeat, pages: number, context: Pick<OperationContext<never>, 'undo' | 'signal'>): Promise<boolean> {
  const { freeFrames, outstandingFrames } = seat.control.hostInfo()
  // What is not of its reservation, such as its grant table, has room beside it.
  if (pages <= freeFrames - outstandingFrames) return true
  if (seat.memoryPolicy === undefined) return false
  return makeRoom(roomHost(seat, context), mebibytes(pages + SLACK_PAGES), { policy: seat.memoryPolicy, undo: context.undo })
}
