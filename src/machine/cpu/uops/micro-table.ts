/**
 * Micro-operations by number, and what lifters find them by. That is known without the micro-operations themselves, which take fifteen
 * milliseconds of a process that has just begun: what decodes needs their index alone, what writes code them.
 */
import type { End } from './facts.ts'
import type { Micro } from './micro.ts'

/** What is known of them by their numbers, as plain data. */
export interface MicroIndex {
  /** Names by number. */
  readonly names: readonly string[]
  /** Those below this number are in the loop. */
  readonly hotCount: number
  /** How each ends. */
  readonly ends: readonly End[]
  /** Those with an address: numbers for the shorter form (or the longer one, where that is the only one) and for the longer. */
  readonly memory: readonly (readonly [number, number])[]
  /** For each pair its number, and that of its first half. */
  readonly firsts: readonly (readonly [pair: number, first: number])[]
  /** Numbers of some, and of their twins for code whose segments are not flat. */
  readonly twins: readonly (readonly [usual: number, twin: number])[]
  /** The number that two consecutive records are given, by {@link pairKey}. */
  readonly pairs: readonly (readonly [key: number, number: number])[]
}

/** What two micro-operations that follow each other are found by. */
export const pairKey = (first: number, second: number): number => first * 65_536 + second

/** All micro-operations. */
export class MicroTable {
  readonly index: MicroIndex
  readonly hotCount: number
  /** Numbers by the names that lifters ask for. */
  readonly numbers: ReadonlyMap<string, number>
  /** Those with an address, by the same names without the address's form. */
  readonly memory: ReadonlyMap<string, readonly [number, number]>
  readonly twins: ReadonlyMap<number, number>
  /** For each number that some pair begins with its row in the list of pairs, counted from 1; and for each second number in it the pair's, or 0. */
  private readonly pairRows: Uint16Array
  private readonly pairNumbers: Uint16Array
  private readonly make: () => readonly Micro[]
  private made: readonly Micro[] | undefined

  /** `make`: the micro-operations in the order of their numbers. */
  constructor(index: MicroIndex, make: () => readonly Micro[]) {
    const { names, hotCount, memory, twins, pairs } = index
    this.index = index
    this.hotCount = hotCount
    this.numbers = new Map(names.map((name, number) => [name, number]))
    this.memory = new Map(memory.map((numbers) => [names[numbers[1]]!.slice(0, -1), numbers]))
    this.twins = new Map(twins)
    this.pairRows = new Uint16Array(names.length)
    const firsts = new Set(pairs.map(([key]) => Math.floor(key / pairKey(1, 0))))
    for (const [row, first] of [...firsts].entries()) this.pairRows[first] = row + 1
    this.pairNumbers = new Uint16Array(firsts.size * names.length)
    for (const [key, number] of pairs) {
      this.pairNumbers[(this.pairRows[Math.floor(key / pairKey(1, 0))]! - 1) * names.length + (key % pairKey(1, 0))] = number
    }
    this.make = make
  }

  /** The number of the pair of two, 0 where they are none. hot path: for every newly met instruction. */
  pairOf(first: number, second: number): number {
    const row = this.pairRows[first]!
    return row === 0 ? 0 : this.pairNumbers[(row - 1) * this.pairRows.length + second]!
  }

  /** How many there are. */
  get count(): number {
    return this.index.names.length
  }

  /** Themselves, by number. */
  get all(): readonly Micro[] {
    return (this.made ??= this.make())
  }
}
