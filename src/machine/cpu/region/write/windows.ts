/**
 * Windows of a region under construction: bytes around an address that have been found in one page, and a local with the
 * host address of the first of them. Accesses that lie in a window need no look at the mapping. Windows hold from where they
 * are opened on, for everything that is reached from there in one way; where ways join, nothing is known any more.
 */
import type { Code } from '../../../../wasm/index.ts'
import { ROOT, shiftOf } from './values.ts'
import type { AccessGroup, AddressRoots, BlockValues } from './values.ts'

/** A window; its roots are those of the region, and so is what its bytes count from. */
export interface Window extends AddressRoots {
  readonly low: number
  readonly high: number
  readonly writes: boolean
  /** Local with the host address of the first byte. */
  readonly host: number
}

/** An access in a window. */
export interface InWindow {
  readonly host: number
  /** Bytes from there. */
  readonly offset: number
}

/** A window that an access opens. */
export interface Opening extends InWindow {
  readonly window: Window
  /** The accesses that it is for. */
  readonly group: AccessGroup
}

/** What is known at a point of the code; whoever writes several ways in turn puts it back. */
export interface WindowState {
  readonly values: BlockValues
  /** Of each register where the block begins: its root in the region, and bytes from there. */
  readonly roots: readonly number[]
  readonly offsets: readonly number[]
  /** Number of the block's roots that are not registers, in the region, less their numbers in the block. */
  readonly firstRoot: number
  readonly windows: readonly Window[]
}

const NOTHING: BlockValues = { accesses: new Map(), roots: [], offsets: [], rootsEnd: 0 }
const NO_OFFSETS: readonly number[] = Array.from({ length: ROOT.FIRST_UNKNOWN }, () => 0)

/** The windows of one region. */
export class RegionWindows {
  state: WindowState = { values: NOTHING, roots: [], offsets: NO_OFFSETS, firstRoot: 0, windows: [] }
  private readonly code: Code
  private rootsEnd = 0
  /** Locals of the windows that may be open, in the order in which they were opened. */
  private readonly hosts: number[] = []

  constructor(code: Code) {
    this.code = code
  }

  /** Begins a block: behind the one at hand, or behind nothing known. */
  enter(values: BlockValues, behind: 'this' | 'any'): void {
    const before = this.state
    const firstRoot = this.rootsEnd
    this.rootsEnd += values.rootsEnd
    if (behind === 'any') {
      const roots = NO_OFFSETS.map((_, register) => firstRoot + register)
      this.state = { values, roots, offsets: NO_OFFSETS, firstRoot, windows: [] }
      return
    }
    const { roots, offsets } = before.values
    this.state = {
      values, firstRoot, windows: before.windows,
      roots: roots.map((root) => this.rootOf(root)),
      offsets: offsets.map((offset, register) => offset + this.offsetOf(roots[register]!)),
    }
  }

  /** Mark for `close`. */
  get mark(): number {
    return this.hosts.length
  }

  /** Nothing that has been opened since the mark is open any more. */
  close(mark: number): void {
    this.code.release('i32', ...this.hosts.splice(mark))
  }

  /** Where an access lies: in a window that is open, in one that is to be opened for it; undefined where none does. */
  find(key: number, bytes: number, writes: boolean): InWindow | Opening | undefined {
    const { values, windows } = this.state
    const access = values.accesses.get(key)
    if (access === undefined) return undefined
    const { group } = access
    const [base, index] = [this.rootOf(group.base), this.rootOf(group.index)]
    const moved = this.offsetOf(group.base) + this.offsetOf(group.index) * 2 ** shiftOf(group.scale)
    const at = access.offset + moved
    for (const window of windows) {
      if (window.base !== base || window.index !== index || window.scale !== group.scale || (writes && !window.writes)) continue
      if (window.low <= at && at + bytes <= window.high) return { host: window.host, offset: at - window.low }
    }
    const [low, high] = [group.low + moved, group.high + moved]
    if (at + bytes > high) return undefined
    const window = { base, index, scale: group.scale, low, high, writes: group.writes, host: this.code.local('i32') }
    return { window, group, host: window.host, offset: at - low }
  }

  /** A window is open: its local is set. */
  open({ window }: Opening): void {
    this.hosts.push(window.host)
    this.state = { ...this.state, windows: [...this.state.windows, window] }
  }

  /** A root of the block in the region, and bytes from there. */
  private rootOf(root: number): number {
    if (root < 0) return root
    return root < ROOT.FIRST_UNKNOWN ? this.state.roots[root]! : this.state.firstRoot + root
  }

  private offsetOf(root: number): number {
    return root < 0 || root >= ROOT.FIRST_UNKNOWN ? 0 : this.state.offsets[root]!
  }
}
