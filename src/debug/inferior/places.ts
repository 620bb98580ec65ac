/** Places at which a debugger has something stop: breakpoints and watchpoints, kept beside the guest. */
import type { Watchpoint } from './watchpoint.ts'

/** Those of one inferior. */
export class Places {
  readonly breakpoints = new Set<bigint>()
  readonly watchpoints = new Set<Watchpoint>()

  /** Nothing is looked for. */
  get isEmpty(): boolean {
    return this.breakpoints.size === 0 && this.watchpoints.size === 0
  }

  /** Watches bytes; the same twice is once. */
  addWatchpoint(watch: Watchpoint): void {
    this.removeWatchpoint(watch)
    this.watchpoints.add(watch)
  }

  /** Watches them no more. */
  removeWatchpoint({ kind, address, length }: Watchpoint): void {
    for (const one of this.watchpoints) if (one.kind === kind && one.address === address && one.length === length) this.watchpoints.delete(one)
  }

  /** Forgets all. */
  clear(): void {
    this.breakpoints.clear()
    this.watchpoints.clear()
  }
}
