/** Places at which a guest stops, as an editor sets them: by function, by instruction, by bytes of memory; each kind is replaced as a whole. */
import type { DebugProtocol } from '@vscode/debugprotocol'
import type { Inferior } from '../inferior/inferior.ts'
import type { Stop } from '../inferior/stop.ts'
import type { WatchKind, Watchpoint } from '../inferior/watchpoint.ts'
import { addressText } from './dap-arguments.ts'

/** What code is stopped at by. */
export type CodeKind = 'function' | 'instruction'

/** A place that was asked for; without an address one that nobody knows, with why. */
export interface WantedPlace {
  readonly address: bigint | undefined
  readonly reason?: string
}

interface Placed {
  readonly id: number
  readonly address: bigint
}

const WATCHED: Readonly<Record<WatchKind, string>> = { write: 'write', read: 'read', access: 'readWrite' }

/** Breakpoints of one editor. */
export class DapBreakpoints {
  private readonly inferior: Inferior
  private readonly code: Record<CodeKind, readonly Placed[]> = { function: [], instruction: [] }
  private watches: readonly (Placed & { readonly watch: Watchpoint })[] = []
  /** Places of a step under way. */
  private readonly passing = new Map<bigint, number>()
  private numbered = 0

  constructor(inferior: Inferior) {
    this.inferior = inferior
  }

  /** Sets those of a kind, in place of what was there. */
  set(kind: CodeKind, wanted: readonly WantedPlace[]): DebugProtocol.Breakpoint[] {
    const before = this.code[kind]
    const placed: Placed[] = []
    const answers = wanted.map(({ address, reason }): DebugProtocol.Breakpoint => {
      if (address === undefined) return { verified: false, reason: 'failed', ...(reason === undefined ? {} : { message: reason }) }
      const id = this.numbered += 1
      placed.push({ id, address })
      return { id, verified: true, instructionReference: addressText(address) }
    })
    this.code[kind] = placed
    for (const { address } of placed) this.inferior.addBreakpoint(address)
    for (const { address } of before) this.release(address)
    return answers
  }

  /** Sets watched bytes, in place of those before. */
  watch(wanted: readonly (Watchpoint | undefined)[]): DebugProtocol.Breakpoint[] {
    for (const { watch } of this.watches) this.inferior.removeWatchpoint(watch)
    const placed: (Placed & { readonly watch: Watchpoint })[] = []
    const answers = wanted.map((watch): DebugProtocol.Breakpoint => {
      if (watch === undefined) return { verified: false, reason: 'failed', message: 'no address and length that can be watched' }
      const id = this.numbered += 1
      placed.push({ id, address: watch.address, watch })
      this.inferior.addWatchpoint(watch)
      return { id, verified: true, message: `${WATCHED[watch.kind]} of ${watch.length} bytes at ${addressText(watch.address)}` }
    })
    this.watches = placed
    return answers
  }

  /** A place for one step; what is returned takes it away. */
  pass(address: bigint): () => void {
    this.passing.set(address, (this.passing.get(address) ?? 0) + 1)
    this.inferior.addBreakpoint(address)
    return () => {
      const left = this.passing.get(address)! - 1
      if (left > 0) this.passing.set(address, left)
      else this.passing.delete(address)
      this.release(address)
    }
  }

  /** Whether the editor itself wants a stop at an address. */
  isWanted(address: bigint): boolean {
    return this.kindsAt(address).length > 0
  }

  /** Numbers of what a stop has hit, and which kind. */
  hit(stop: Stop): { readonly ids: readonly number[]; readonly kind: CodeKind | undefined } {
    if (stop.type === 'watchpoint') return { ids: this.watches.filter(({ watch }) => watch === stop.watch).map(({ id }) => id), kind: undefined }
    if (stop.type !== 'breakpoint') return { ids: [], kind: undefined }
    const kinds = this.kindsAt(stop.address)
    return { ids: kinds.flatMap((kind) => this.code[kind].filter(({ address }) => address === stop.address).map(({ id }) => id)), kind: kinds[0] }
  }

  private kindsAt(address: bigint): readonly CodeKind[] {
    return (['function', 'instruction'] as const).filter((kind) => this.code[kind].some((one) => one.address === address))
  }

  private release(address: bigint): void {
    if (!this.passing.has(address) && !this.isWanted(address)) this.inferior.removeBreakpoint(address)
  }
}
