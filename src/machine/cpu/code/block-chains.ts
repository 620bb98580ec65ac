/**
 * The table by which decoded blocks are found: chains of blocks by physical address, as generated code follows them
 * (runtime/blocks.ts).
 */
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { BLOCK } from '../layout/record.ts'
import { bucketOf } from '../runtime/blocks.ts'

/** Address of the head of the chain that a physical address belongs to. */
const headOf = (memory: MachineMemory, physical: number): number => memory.layout.blockTable + bucketOf(physical) * 4

/** Puts a block in front of its chain. */
export function enterChain(memory: MachineMemory, block: number): void {
  const { view } = memory
  const head = headOf(memory, view.getUint32(block + BLOCK.physical, true))
  view.setUint32(block + BLOCK.next, view.getUint32(head, true), true)
  view.setUint32(head, block, true)
}

/** Takes a block out of its chain; one that is in none is left alone. */
export function leaveChain(memory: MachineMemory, block: number): void {
  const { view } = memory
  const link = linkTo(memory, block)
  if (link !== 0) view.setUint32(link, view.getUint32(block + BLOCK.next, true), true)
}

/** Puts a block in the place that another of the same physical address has in its chain. */
export function replaceInChain(memory: MachineMemory, old: number, block: number): void {
  const { view } = memory
  view.setUint32(block + BLOCK.next, view.getUint32(old + BLOCK.next, true), true)
  view.setUint32(linkTo(memory, old), block, true)
}

/** Address of the word that leads to a block; 0 when none does. */
function linkTo(memory: MachineMemory, block: number): number {
  const { view } = memory
  let link = headOf(memory, view.getUint32(block + BLOCK.physical, true))
  for (;;) {
    const found = view.getUint32(link, true)
    if (found === block) return link
    if (found === 0) return 0
    link = found + BLOCK.next
  }
}

/** The live block of a physical address and a mode; 0 when there is none. */
export function findInChain(memory: MachineMemory, physical: number, mode: number): number {
  const { view } = memory
  let block = view.getUint32(headOf(memory, physical), true)
  while (block !== 0) {
    if (view.getUint32(block + BLOCK.physical, true) === physical && view.getUint32(block + BLOCK.mode, true) === mode) break
    block = view.getUint32(block + BLOCK.next, true)
  }
  return block
}
