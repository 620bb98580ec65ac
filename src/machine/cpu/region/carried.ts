/**
 * Which micro-operations a region carries out, and how those that end a basic block do so, from their facts. Everything
 * else ends a region before the instruction that it belongs to.
 */
import type { MicroFacts } from '../uops/facts.ts'
import type { Micro } from '../uops/micro.ts'
import type { BlockEnd } from './region.ts'

/** How a basic block ends behind a micro-operation, or that no region carries it out. */
export type Carriage = BlockEnd | 'refused'

/** A call writes its return address, a return reads it. */
const stackUse = ({ memory }: MicroFacts): 'read' | 'write' | undefined => {
  const use = memory.find(({ through }) => through === 'stack')?.use
  return use === 'read' || use === 'write' ? use : undefined
}

/** How a region deals with a micro-operation; a pair is its first half, the second one has a record of its own. */
export function carriageOf(micro: Micro): Carriage {
  const { facts, group, pair } = micro
  if (pair !== undefined) return carriageOf(pair.first)
  if (group === 'segmented' || facts.handler === 'always') return 'refused'
  switch (facts.ends) {
    case 'next':
    case 'repeat':
      return 'next'
    case 'conditional':
      return 'conditional'
    case 'branch':
      return stackUse(facts) === 'write' ? 'call' : 'branch'
    case 'jump':
      return stackUse(facts) === 'read' ? 'return' : 'indirect'
    default:
      return 'refused'
  }
}
