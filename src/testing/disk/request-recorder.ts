/** A block store that notes what it is asked for, and a look at what stands on one. */
import { SECTOR_SIZE, type BlockStore } from '../../drivers/index.ts'
import { shown, XenError } from '../../util/index.ts'
import { StoreBetween } from './store-between.ts'

/** One request that a store was given. */
export interface StoreRequest {
  readonly kind: 'read' | 'write' | 'flush' | 'discard' | 'close'
  /** Where it begins, in sectors of 512 bytes; 0 for one without a range. */
  readonly sector: number
  /** Sectors that it is about. */
  readonly sectors: number
}

/** A store, and everything that it was asked for. */
export class RequestRecorder extends StoreBetween {
  /** The oldest first. */
  readonly requests: StoreRequest[] = []

  read(offset: number, target: Uint8Array): void | Promise<void> {
    this.note('read', offset, target.length)
    return this.store.read(offset, target)
  }

  write(offset: number, source: Uint8Array): void | Promise<void> {
    this.note('write', offset, source.length)
    return this.store.write(offset, source)
  }

  flush(): void | Promise<void> {
    this.note('flush', 0, 0)
    return this.store.flush()
  }

  close(): void | Promise<void> {
    this.note('close', 0, 0)
    return this.store.close()
  }

  protected discarding(offset: number, length: number): void | Promise<void> {
    this.note('discard', offset, length)
    return this.store.discard?.(offset, length)
  }

  /** Requests as lines: `write 8+2`, the sector and how many. */
  text(): string {
    return this.requests.map(({ kind, sector, sectors }) => (sectors === 0 ? kind : `${kind} ${sector}+${sectors}`)).join('\n')
  }

  private note(kind: StoreRequest['kind'], offset: number, length: number): void {
    this.requests.push({ kind, sector: offset / SECTOR_SIZE, sectors: length / SECTOR_SIZE })
  }
}

/** What sectors are to hold: bytes or a text from their beginning on, or a condition. */
export type SectorWish = Uint8Array | string | ((bytes: Uint8Array) => boolean)

const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')

/**
 * Rejects with INVALID_STATE where what stands on a disk from a sector on is something else; what is behind the expected
 * bytes does not matter.
 *
 * @example
 * await expectSector(store, 0, 'hello')
 */
export async function expectSector(store: BlockStore, sector: number, wish: SectorWish): Promise<void> {
  const isWish = wish instanceof Uint8Array || typeof wish === 'string' || typeof wish === 'function'
  if (!isWish) throw new XenError('INVALID_ARGUMENT', `expectSector takes bytes, a text or a condition, got ${shown(wish)}`)
  const expected = typeof wish === 'string' ? new TextEncoder().encode(wish) : wish instanceof Uint8Array ? wish : undefined
  const found = new Uint8Array(Math.max(SECTOR_SIZE, Math.ceil((expected?.length ?? 0) / SECTOR_SIZE) * SECTOR_SIZE))
  await store.read(sector * SECTOR_SIZE, found)
  if (typeof wish === 'function') {
    if (wish(found)) return
    throw new XenError('INVALID_STATE', `sector ${sector} is not what was expected: it begins with ${hex(found.subarray(0, 16))}`, { details: { sector } })
  }
  const differs = expected!.findIndex((byte, at) => byte !== found[at])
  if (differs < 0) return
  const around = (bytes: Uint8Array): string => hex(bytes.subarray(differs, differs + 16))
  const place = `byte ${differs % SECTOR_SIZE} of sector ${sector + Math.floor(differs / SECTOR_SIZE)}`
  throw new XenError('INVALID_STATE', `the disk holds something else from ${place} on: ${around(found)}, not ${around(expected!)}`, { details: { sector, offset: differs } })
}
