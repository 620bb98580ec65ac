/** A guest's memory by virtual address, as its kernel sees it: through the page tables in force, a page at a time. Nothing is mapped, nothing faults. */
import { callable, checkArgument, having, XenError, type DomId, type Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { Host } from '../../toolstack/index.ts'

/** What it takes of a hypervisor. */
export type MemoryControl = Pick<Host['hypervisor'], 'translate' | 'frameBytes' | 'readFrames' | 'markWritten'>

const ADDRESS_MASK = (1n << 64n) - 1n

/** An address as 64 bits, from a signed number or one that is not. */
export const addressOf = (address: number | bigint): bigint => BigInt(address) & ADDRESS_MASK

/** What a call gives; undefined where the hypervisor refuses it. */
export function attempt<T>(call: () => T): T | undefined {
  try {
    return call()
  } catch (error) {
    if (XenError.is(error)) return undefined
    throw error
  }
}

/** The memory of one domain. */
export class VirtualMemory {
  private readonly control: () => MemoryControl
  private readonly domid: DomId
  private readonly page = new Uint8Array(PAGE_SIZE)

  /** `control`: asked each time, since a host that was brought back may have another. */
  constructor(control: () => MemoryControl, domid: DomId) {
    checkArgument('the control of a memory', control, callable)
    checkArgument('the control interface', control(), having('translate', 'frameBytes'))
    this.control = control
    this.domid = domid
  }

  /** The frame that an address leads to; undefined where it is not mapped. */
  frameAt(address: number | bigint): Mfn | undefined {
    return attempt(() => this.control().translate(this.domid, addressOf(address)))?.frame
  }

  /** Bytes from an address on, as far as they are mapped. */
  read(address: number | bigint, length: number): Uint8Array {
    const found = new Uint8Array(length)
    let done = 0
    this.eachPiece(addressOf(address), length, (frame, offset, size) => {
      this.control().readFrames(this.domid, Uint32Array.of(frame), this.page)
      found.set(this.page.subarray(offset, offset + size), done)
      done += size
    })
    return found.subarray(0, done)
  }

  /** Writes bytes; false where not all of them are mapped, or in a page that its rules keep from being written: then nothing has changed. */
  write(address: number | bigint, bytes: Uint8Array): boolean {
    const pieces: { readonly frame: Mfn; readonly target: Uint8Array; readonly from: number }[] = []
    let done = 0
    this.eachPiece(addressOf(address), bytes.length, (frame, offset, size) => {
      pieces.push({ frame, target: this.control().frameBytes(this.domid, frame).subarray(offset, offset + size), from: done })
      done += size
    })
    if (done < bytes.length) return false
    for (const { frame, target, from } of pieces) {
      target.set(bytes.subarray(from, from + target.length))
      this.control().markWritten(frame)
    }
    return true
  }

  /** Calls `take` for each piece of a page, up to the first that is not mapped or may not be taken. */
  private eachPiece(address: bigint, length: number, take: (frame: Mfn, offset: number, size: number) => void): void {
    for (let at = address, left = length; left > 0;) {
      const place = attempt(() => this.control().translate(this.domid, at & ADDRESS_MASK))
      if (place === undefined) return
      const size = Math.min(left, PAGE_SIZE - place.offset)
      const isTaken = attempt(() => {
        take(place.frame, place.offset, size)
        return true
      })
      if (isTaken !== true) return
      at += BigInt(size)
      left -= size
    }
  }
}
