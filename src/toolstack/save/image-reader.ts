/**
 * What rebuilds a domain from a libxc image, whatever kind of guest is in it. An empty domain is filled; only when the whole
 * image has been read and checked does anything else happen to it. The stream is hostile.
 */
import { XenError } from '../../util/index.ts'
import type { BulkRecord, SaveStreamReader } from '../stream/index.ts'

/** Frames of the domain's rings as its own kernel numbers them. */
export interface RestoredRings {
  readonly xenstoreFrame: number
  readonly consoleFrame: number
}

/** Reads one image into one domain. */
export interface ImageReader {
  /** Pages that the image has named so far. */
  readonly pageCount: number
  /**
   * Reads records up to and including `end` or `checkpoint`; tells which. `onRecord` may wait, which holds the reader
   * back; what it throws ends the reading.
   */
  read(reader: SaveStreamReader, onRecord?: OnRecord): Promise<'end' | 'checkpoint'>
  /**
   * Puts the domain together; it can be unpaused afterwards. Throws INVALID_STREAM when the image lacks something or
   * lies.
   */
  finish(): RestoredRings
}

/** Hears of every record. */
export type OnRecord = (type: BulkRecord['type']) => void | Promise<void>

/** What the control interface says when an image's contents are wrong. */
const FAULTS_OF_THE_IMAGE: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'INVALID_STREAM', 'INVALID_STATE', 'INVALID_ARGUMENT', 'INVALID_ADDRESS',
])

/** The error of a stream. */
export const badImage = (what: string, details: Record<string, unknown> = {}): XenError =>
  new XenError('INVALID_STREAM', what, { details })

/** Runs `step`; an error of the stream that it throws names the record. */
function named(record: string, offset: number, step: () => void): void {
  try {
    step()
  } catch (error) {
    if (!XenError.is(error, 'INVALID_STREAM')) throw error
    throw new XenError('INVALID_STREAM', `record ${record} at offset ${offset}: ${error.message}`, {
      details: { ...error.details, record, offset }, cause: error,
    })
  }
}

/** Hands records to `take`, up to and including `end` or `checkpoint`; which, and where it began. */
export async function readRecords(
  reader: SaveStreamReader, take: (record: BulkRecord) => void, onRecord?: OnRecord,
): Promise<{ readonly last: 'end' | 'checkpoint'; readonly offset: number }> {
  for (;;) {
    const offset = reader.offset
    const record = await reader.readBulkRecord()
    named(record.type, offset, () => take(record))
    await onRecord?.(record.type)
    if (record.type === 'end' || record.type === 'checkpoint') return { last: record.type, offset }
  }
}

/** Puts a domain together by `assemble`; what an image's contents have made the control interface refuse is the image's fault. */
export function assembled<T>(endOffset: number, assemble: () => T): T {
  try {
    return assemble()
  } catch (error) {
    if (!XenError.is(error) || !FAULTS_OF_THE_IMAGE.has(error.code)) throw error
    throw new XenError('INVALID_STREAM', `the image that ends at offset ${endOffset} cannot be put together: ${error.message}`, {
      details: { ...error.details, record: 'end', offset: endOffset }, cause: error,
    })
  }
}
