/**
 * One number for all that guests can see: two runs with the same inputs give the same, at every moment. For tests of
 * determinism and for comparing hosts; it is no protection against anybody.
 */
import { VcpuGuestContext } from '../../abi/index.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { encodeVcpuContext } from '../domains/vcpu-context.ts'
import { type FrameTable, OWNER_FREE } from '../frames/frame-table.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HostClock } from '../time/host-clock.ts'

/** What the hash covers. */
export interface HashedParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly domains: DomainRegistry
  readonly clock: HostClock
}

/** Two 32-bit lanes of FNV-1a over words, with different primes. */
class Lanes {
  private first = 0x811c_9dc5
  private second = 0x1234_5677

  /** Takes one word in. */
  word(value: number): void {
    this.first = Math.imul(this.first ^ value, 0x0100_0193)
    this.second = Math.imul(this.second ^ value, 0x85eb_ca6b) ^ (this.second >>> 13)
  }

  /** Takes `count` words of an array in. */
  words(source: Uint32Array, from: number, count: number): void {
    for (let i = from; i < from + count; i += 1) this.word(source[i]!)
  }

  /** Takes a whole number below 2^53 in. */
  wide(value: number): void {
    this.word(value | 0)
    this.word(Math.floor(value / 0x1_0000_0000) | 0)
  }

  /** 16 hexadecimal digits. */
  digits(): string {
    return [this.first, this.second].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('')
  }
}

/** Hash over time, owners, contents and types of frames, and every virtual CPU. */
export function hashState(parts: HashedParts): string {
  const lanes = new Lanes()
  lanes.wide(parts.clock.now())
  hashFrames(parts, lanes)
  const context = new Uint32Array(VcpuGuestContext.size / 4)
  const view = new DataView(context.buffer)
  for (const domain of parts.domains.all()) {
    const { id, totalPages, shutdownReason, isShutDown, pauseCount } = domain
    for (const value of [id, totalPages, shutdownReason, isShutDown ? 1 : 0, pauseCount]) lanes.wide(value)
    for (const vcpu of domain.vcpus) {
      lanes.word((vcpu.online ? 1 : 0) | (vcpu.blocked ? 2 : 0))
      lanes.wide(vcpu.runstate.cpuTime(parts.clock.now()))
      const registers = vcpu.guest?.context?.get()
      if (registers === undefined) continue
      encodeVcpuContext(registers, view, 0)
      lanes.words(context, 0, context.length)
    }
  }
  return lanes.digits()
}

function hashFrames({ memory, frames }: HashedParts, lanes: Lanes): void {
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    if (frames.owner[mfn] === OWNER_FREE) continue
    lanes.word(mfn)
    lanes.word(frames.owner[mfn]! | (frames.type[mfn]! << 16) | (frames.flags[mfn]! << 24))
    lanes.word(frames.references[mfn]!)
    lanes.words(memory.words, mfn * 1024, 1024)
  }
}
