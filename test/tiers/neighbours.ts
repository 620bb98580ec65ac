/**
 * Accesses near to each other for random programs, by a pointer that is moved, copied, changed, or changed on one of two ways
 * only: what a compiler may take together, and where it must not. 64-bit code.
 */
import { below, type Random } from '../../src/util/index.ts'
import { dataAddress } from '../oracle/initial-state.ts'
import { oneIn } from '../oracle/short-address.ts'
import type { ProgramWriter } from './writer.ts'

const [RAX, RBX, RBP, RSI, RDI] = [0, 3, 5, 6, 7] as const
/** ModRM of an operand at a register and a byte of displacement, and of two registers. */
const at = (reg: number, base: number): number => 0x40 | (reg << 3) | base
const registers = (reg: number, other: number): number => 0xc0 | (reg << 3) | other
const [REX_W, ADD_IMMEDIATE] = [0x48, 0x83]

/** Bytes of one step; `base` has the pointer, `copy` may have it, too. */
function step(random: Random, base: number, copy: number): number[] {
  const value = below(random, 3)
  const pointer = oneIn(random, 4) ? copy : base
  const near = (below(random, 96) - 32) & 0xff
  const steps: readonly (() => number[])[] = [
    () => [0x8b, at(value, pointer), near],
    () => [REX_W, 0x8b, at(value, pointer), near],
    () => [0x0f, 0xb6, at(value, pointer), near],
    () => [0x89, at(value, pointer), near],
    () => [REX_W, 0x89, at(value, pointer), near],
    () => [ADD_IMMEDIATE, at(0, pointer), near, 5],
    () => [REX_W, ADD_IMMEDIATE, registers(oneIn(random, 2) ? 0 : 5, base), below(random, 24)],
    () => [REX_W, 0xff, registers(below(random, 2), base)],
    () => [ADD_IMMEDIATE, registers(6, base), below(random, 64)],
    () => [REX_W, 0x8d, at(copy, base), near],
    () => [REX_W, 0x89, registers(base, copy)],
    () => [0x50 | value, 0x50 | RAX, 0x89, value << 3 | 4, 0x24, 0x58 | RAX, 0x58 | value],
  ]
  return steps[below(random, steps.length)]!()
}

/** Writes some of them. */
export function writeNeighbours(random: Random, writer: ProgramWriter): void {
  const pointers = [RBX, RBP, RSI, RDI]
  const base = pointers[below(random, 4)]!
  const copy = pointers[(pointers.indexOf(base) + 1 + below(random, 3)) % 4]!
  const address = dataAddress(random)
  writer.set(base, address)
  writer.set(copy, address + below(random, 16))
  for (let count = 3 + below(random, 8); count > 0; count -= 1) {
    const bytes = step(random, base, copy)
    if (oneIn(random, 4)) writer.raw(0x70 | below(random, 16), bytes.length)
    writer.raw(...bytes)
  }
}
