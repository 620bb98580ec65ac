/**
 * Memory of a guest written in TypeScript, as its raw hypercalls see it: an address is a byte address of host memory,
 * and only frames that the guest owns are accessible, the ones it holds as page tables for reading only.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { FRAME_TYPE, type FrameTable } from './frame-table.ts'
import type { GuestAccess } from '../memory/guest-access.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'

/** Access to the frames that one domain owns. */
export class FrameAccess implements GuestAccess {
  private readonly memory: GuestMemory
  private readonly frames: FrameTable
  private readonly domid: number

  constructor(memory: GuestMemory, frames: FrameTable, domid: number) {
    this.memory = memory
    this.frames = frames
    this.domid = domid
  }

  /** Frames that a guest does not own yet it may own by the time of use. */
  mayName(): boolean {
    return true
  }

  locate(address: number, write: boolean): number {
    if (!Number.isInteger(address)) return -1
    const mfn = Math.floor(address / PAGE_SIZE)
    const { frames } = this
    if (!frames.isValid(mfn) || frames.owner[mfn] !== this.domid) return -1
    if (write && frames.typeCount[mfn] !== 0 && frames.type[mfn] !== FRAME_TYPE.WRITABLE) return -1
    return address
  }

  read(address: number, target: Uint8Array): boolean {
    return this.eachPage(address, target.length, false, (at, done, size) => {
      target.set(this.memory.bytes.subarray(at, at + size), done)
    })
  }

  write(address: number, source: Uint8Array): boolean {
    return this.eachPage(address, source.length, true, (at, done, size) => {
      this.memory.bytes.set(source.subarray(done, done + size), at)
      this.memory.markWritten(Math.floor(at / PAGE_SIZE))
    })
  }

  private eachPage(
    address: number,
    length: number,
    write: boolean,
    visit: (at: number, done: number, size: number) => void,
  ): boolean {
    for (let done = 0; done < length;) {
      const at = this.locate(address + done, write)
      if (at < 0) return false
      const size = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE))
      visit(at, done, size)
      done += size
    }
    return true
  }
}
