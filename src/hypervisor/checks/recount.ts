/** Counts that are worked out anew, against which the frame table's own are held, and what has not added up so far. */
import type { FrameLedger } from '../domains/domain-kind.ts'
import { FRAME_TYPE, type FrameTable, OWNER_FREE } from '../frames/frame-table.ts'

/** Something that does not add up. */
export interface Finding {
  /** -1 for what concerns no frame. */
  readonly frame: number
  readonly what: string
}

/** References and type references by frame, counted from their uses. */
export class Recount implements FrameLedger {
  readonly references: Uint32Array
  readonly types: Uint32Array
  readonly findings: Finding[] = []
  private readonly frames: FrameTable

  constructor(frames: FrameTable) {
    this.frames = frames
    this.references = new Uint32Array(frames.end)
    this.types = new Uint32Array(frames.end)
  }

  report(frame: number, what: string): void {
    this.findings.push({ frame, what })
  }

  use(frame: number, type: number, what: string): void {
    const { frames } = this
    if (!frames.isValid(frame) || frames.owner[frame] === OWNER_FREE) {
      this.report(frame, `${what} uses a frame that is not in use`)
      return
    }
    this.references[frame]! += 1
    if (type === FRAME_TYPE.NONE) return
    this.types[frame]! += 1
    const actual = frames.type[frame]
    if (actual !== type) this.report(frame, `${what} uses it as type ${type}, it has type ${actual}`)
  }
}
