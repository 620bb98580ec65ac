/**
 * Bytes that others share and a guest reads twice: between the two reads they may change, so that what was checked is not what is used. It is told of each pair
 * of instructions that read the same byte, neither having written it; a lock or a retry may make it harmless.
 */
import type { Trace, TracedAccess } from '../../machine/index.ts'
import { addressOf } from '../memory/virtual-memory.ts'
import type { Finding, FuzzSubject, SharedRange } from './fuzz-types.ts'

const MOST_FINDINGS = 16

/** Follows all vCPUs of a domain. */
export class DoubleFetches {
  private readonly traces: readonly Trace[]
  private readonly ranges: readonly { readonly from: bigint; readonly to: bigint }[]
  /** Instructions that read a byte first, by its address. */
  private readonly reads = new Map<bigint, number>()
  private readonly found = new Map<string, Finding>()
  private readonly name: (address: number) => string | undefined

  constructor({ domain }: FuzzSubject, ranges: readonly SharedRange[], name: (address: number) => string | undefined) {
    this.name = name
    this.ranges = ranges.map(({ address, length }) => ({ from: addressOf(address), to: addressOf(address) + BigInt(length) }))
    this.traces = domain.vcpus().map(({ vcpu }) => domain.trace({ memory: (access) => this.note(access) }, { vcpu }))
  }

  /** Ends it. */
  end(): void {
    for (const trace of this.traces) trace.stop()
  }

  findings(): readonly Finding[] {
    return [...this.found.values()]
  }

  private note({ kind, address, size, instruction }: TracedAccess): void {
    const first = addressOf(address)
    if (!this.ranges.some(({ from, to }) => first < to && from < first + BigInt(size))) return
    for (let at = first; at < first + BigInt(size); at += 1n) {
      const before = this.reads.get(at)
      if (kind === 'write') this.reads.delete(at)
      else if (before === undefined) this.reads.set(at, instruction)
      else if (before !== instruction) this.tell(before, instruction, at)
    }
  }

  private tell(before: number, again: number, at: bigint): void {
    const where = (address: number): string => this.name(address) ?? `0x${addressOf(address).toString(16)}`
    const signature = `double fetch by ${where(before)} and ${where(again)}`
    if (this.found.has(signature) || this.found.size >= MOST_FINDINGS) return
    this.found.set(signature, { kind: 'double-fetch', signature, text: `${signature}: byte 0x${at.toString(16)} of shared memory` })
  }
}
