/**
 * A processor's translations as the host drops them: all, those of one page, or the right to write one frame. Filling
 * them is generated code's work (runtime/tlb.ts).
 */
import type { PhysicalMemory } from '../../memory/physical-memory.ts'
import { NO_TAG } from '../runtime/tlb.ts'
import { State, TLB, TLB_LOG } from '../layout/state.ts'

function clearEntry(memory: PhysicalMemory, entry: number): void {
  for (let tag = 0; tag < 24; tag += 8) memory.words[(entry + tag) >> 2] = NO_TAG
}

/** Drops all translations, by the log of entries in use where that has not overflowed. */
export function flushAll(memory: PhysicalMemory, base: number): void {
  const { view } = memory
  const count = State.logCount.get(view, base)
  if (count < TLB_LOG.entries) {
    for (let i = 0; i < count; i += 1) clearEntry(memory, view.getUint32(base + TLB_LOG.offset + i * 4, true))
  } else clearAll(memory, base)
  State.logCount.set(view, base, 0)
  State.largePages.set(view, base, 0)
}

/**
 * Drops the translations that have been made since the log held `count` entries. The caller has seen to it that they are
 * all in the bank for system code, which is emptied as a whole where the log has overflowed.
 */
export function forgetNewer(memory: PhysicalMemory, base: number, count: number): void {
  const { view, words } = memory
  const now = State.logCount.get(view, base)
  // A flush in between has begun a new log.
  const start = now < count ? 0 : count
  for (let i = start; i < now; i += 1) clearEntry(memory, view.getUint32(base + TLB_LOG.offset + i * 4, true))
  State.logCount.set(view, base, start)
  if (now < TLB_LOG.entries) return
  const first = (base + TLB.offset + TLB.bankBytes) >> 2
  for (let i = first; i < first + TLB.bankBytes / 4; i += 8) for (const tag of [0, 2, 4]) words[i + tag] = NO_TAG
}

/** Marks every entry as empty. */
export function clearAll(memory: PhysicalMemory, base: number): void {
  const { words } = memory
  const first = (base + TLB.offset) >> 2
  for (let i = first; i < first + (2 * TLB.bankBytes) / 4; i += 8) {
    words[i] = NO_TAG
    words[i + 2] = NO_TAG
    words[i + 4] = NO_TAG
  }
}

/** Drops the translations of the page that holds an address; all of them while large pages are among them. */
export function flushOne(memory: PhysicalMemory, base: number, address: number): void {
  if (State.largePages.get(memory.view, base) !== 0) return flushAll(memory, base)
  const page = Math.floor(address / 4096)
  const index = ((page % TLB.entries) + TLB.entries) % TLB.entries
  for (let bank = 0; bank < 2; bank += 1) {
    clearEntry(memory, base + TLB.offset + bank * TLB.bankBytes + index * TLB.entryBytes)
  }
}

/** Takes away write permission for a frame from all translations. */
export function forbidWriting(memory: PhysicalMemory, base: number, mfn: number): void {
  const { words } = memory
  const first = (base + TLB.offset) >> 2
  for (let i = first; i < first + (2 * TLB.bankBytes) / 4; i += 8) {
    const tag = words[i + 2]!
    if (tag === NO_TAG) continue
    if (((words[i + 6]! + tag) >>> 12) === mfn) {
      words[i + 2] = NO_TAG
      words[i + 3] = 0
    }
  }
}
