/** Places of table 0 for the functions of regions, behind those of micro-operations; a record names one by its number. */

/** Most that a record's number can tell. */
const MOST = 0xffff

/** The places. */
export class Slots {
  private readonly table: WebAssembly.Table
  private readonly free: number[] = []

  constructor(table: WebAssembly.Table) {
    this.table = table
  }

  /** True while so many more functions find places. */
  hasRoom(count: number): boolean {
    return this.free.length + MOST - this.table.length >= count
  }

  /** Gives a function a place. */
  take(run: unknown): number {
    const slot = this.free.pop() ?? this.table.grow(1)
    this.table.set(slot, run)
    return slot
  }

  /** Empties a place: no record that is executed names it any more. */
  release(slot: number): void {
    this.table.set(slot, null)
    this.free.push(slot)
  }
}
