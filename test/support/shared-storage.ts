/**
 * A disk that several hosts open, each by a cache of its own: it reads what is durable once, when it is opened, as what keeps an index does, and what it writes
 * becomes durable when it is flushed, which takes a while. So a host that opens it before another has flushed never sees what that has written last.
 */
import type { BlockStore } from '../../src/drivers/index.ts'

/** What a host has done with the disk. */
export interface StorageCounts {
  read: number
  written: number
  /** How often it is open now. */
  open: number
}

const SECTOR = 512

/** One disk in a storage. */
export class SharedStorage {
  /** By hosts. */
  readonly counts = new Map<string, StorageCounts>()
  /** Who opened it, or wrote, while another host's writes were not durable. */
  readonly mistakes: string[] = []
  /** What a flush fails with. */
  failing: string | undefined
  private readonly bytes = new Uint8Array(64 * SECTOR)
  /** Hosts with writes that are not durable. */
  private readonly unflushed = new Set<string>()

  /** What lies in a sector for a host that opens it now: text. */
  durable(sector: number): string {
    return new TextDecoder().decode(this.bytes.subarray(sector * SECTOR, (sector + 1) * SECTOR)).replace(/\0.*$/s, '')
  }

  /** The disk, for one host. */
  open(host: string): BlockStore {
    const counts = this.counts.get(host) ?? { read: 0, written: 0, open: 0 }
    this.counts.set(host, counts)
    counts.open += 1
    this.look(host, 'opened')
    const { bytes } = this
    const seen = bytes.slice()
    let waiting: (readonly [offset: number, bytes: Uint8Array])[] = []
    return {
      size: bytes.length, readOnly: false, storage: 'nfs1',
      read: (offset, target) => {
        counts.read += target.length
        target.set(seen.subarray(offset, offset + target.length))
      },
      write: (offset, source) => {
        this.look(host, 'wrote')
        counts.written += source.length
        seen.set(source, offset)
        waiting.push([offset, source.slice()])
        this.unflushed.add(host)
      },
      flush: async () => {
        if (this.failing !== undefined) throw new Error(this.failing)
        const pieces = waiting
        waiting = []
        await new Promise((resolve) => setTimeout(resolve, 5))
        for (const [offset, piece] of pieces) bytes.set(piece, offset)
        if (waiting.length === 0) this.unflushed.delete(host)
      },
      close: () => { counts.open -= 1 },
    }
  }

  private look(host: string, did: string): void {
    for (const other of this.unflushed) if (other !== host) this.mistakes.push(`${host} ${did} before ${other} had flushed`)
  }
}
