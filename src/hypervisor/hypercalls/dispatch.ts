/**
 * From a hypercall's number to its handler, for the vCPUs of one kind of guest. The table is the only place where
 * numbers and handlers meet.
 * Reference: xen/arch/x86/pv/hypercall.c, pv_hypercall; xen/common/multicall.c.
 */
import { ERRNO, type GuestAbi, HYPERVISOR, MulticallEntry } from '../../abi/index.ts'
import { type EventHub, type Interest, TWO_32 } from '../../util/index.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import { type Access, HYPERCALL_CLASSES, type HypercallClass } from '../domains/access.ts'
import type { Vcpu } from '../domains/domain.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../time/work-meter.ts'
import { CALL_SILENT, HypercallArguments, type HypercallHandler, type HypercallRow, type HypercallTable } from '../domains/hypercall.ts'
import { FULL } from '../domains/hypercall-rows.ts'

/** Numbers that a guest may use. */
export const NUMBERS = 64

/** What hypercalls are dispatched to, and what is counted and told of them. */
export interface DispatcherParts {
  /** Makes the rows, once a hypercall is made or told of: a host has tables for kinds of guests that never come. */
  readonly rows: () => readonly HypercallRow[]
  /** What the callers speak: the rows are made for it. */
  readonly abi: GuestAbi
  readonly hub: EventHub<HypervisorEvent>
  readonly meter: WorkMeter
  /** How often each hypercall was made, by number: counted on by all tables of a host. */
  readonly counts: Float64Array
  /** Asked about each call, where its policy has rules for hypercalls. */
  readonly access: Access
}

/** Rows of one kind of guest: its own take the place of those that no kind owns. */
export const withOwn = (rows: readonly HypercallRow[], own: readonly HypercallRow[]): HypercallRow[] =>
  [...rows.filter(({ name }) => !own.some((row) => row.name === name)), ...own]

/** A handler that the policy is asked about first; without rules for hypercalls there is none, and nothing is asked. */
const asking = (handler: HypercallHandler, asked: HypercallClass, access: Access): HypercallHandler => (caller, args) => {
  const { id: domid, privileged } = caller.owner
  return access.mayCall({ domid, privileged }, asked) ? handler(caller, args) : -ERRNO.EPERM
}

/** Carries out hypercalls by number: those that no kind of guest owns, and those of one kind. */
export class HypercallDispatcher implements HypercallTable {
  private table: readonly (HypercallHandler | undefined)[] | undefined
  /** What tells of an operation that is named in a structure, by the hypercall's number. */
  private readonly asked = new Map<number, () => number>()
  private readonly hub: EventHub<HypervisorEvent>
  private readonly interest: Interest
  private readonly meter: WorkMeter
  private readonly counts: Float64Array
  /** One call of a multicall, as the callers' ABI lays it out. */
  private readonly layout: Pick<typeof MulticallEntry, 'size' | 'op' | 'result' | 'args'>
  private readonly entry: Scratch
  private readonly inner = new HypercallArguments()
  private readonly access: Access
  private readonly makeRows: () => readonly HypercallRow[]
  private made: readonly HypercallRow[] | undefined
  private around: ((handler: HypercallHandler, number: number) => HypercallHandler) | undefined

  constructor({ rows, abi, hub, meter, counts, access }: DispatcherParts) {
    this.makeRows = rows
    this.access = access
    this.hub = hub
    this.interest = hub.interest('hypercall')
    this.counts = counts
    this.meter = meter
    this.layout = abi.of(MulticallEntry)
    this.entry = new Scratch(this.layout.size)
  }

  /** Every row that there is, in the order of the numbers. */
  get rows(): readonly HypercallRow[] {
    return (this.made ??= this.allRows())
  }

  private allRows(): readonly HypercallRow[] {
    const multicall: HypercallRow = {
      name: 'multicall', handler: (caller, args) => this.multicall(caller, args),
      source: 'public/xen.h, struct multicall_entry; do_multicall', support: FULL,
    }
    return [multicall, ...this.makeRows()].sort((a, b) => HYPERVISOR[a.name] - HYPERVISOR[b.name])
  }

  /** Before the first call: what each number leads to. */
  private open(): readonly (HypercallHandler | undefined)[] {
    const { access, rows, around = (handler) => handler } = this
    const table = new Array<HypercallHandler | undefined>(NUMBERS).fill(undefined)
    for (const row of rows) if (row.asked !== undefined) this.asked.set(HYPERVISOR[row.name], () => row.asked!())
    for (const { name, handler } of rows) {
      const number = HYPERVISOR[name]
      table[number] = around(access.asksHypercalls ? asking(handler, HYPERCALL_CLASSES[name], access) : handler, number)
    }
    this.table = table
    return table
  }

  /** Has each hypercall carried out by what `around` makes of its handler from now on, or by its handler again. */
  surround(around: HypercallDispatcher['around']): void {
    this.around = around
    this.table = undefined
  }

  /**
   * Carries out hypercall `number`. The result goes to the guest, except {@link CALL_AGAIN} (to be made again with
   * what the arguments hold now) and {@link CALL_SILENT} (the handler has set the registers).
   */
  call(caller: Vcpu, number: number, args: HypercallArguments): number {
    const handler = number < NUMBERS ? (this.table ?? this.open())[number] : undefined
    const sub = args.low[0]!
    const before = this.interest.isThere ? args.values() : undefined
    if (handler !== undefined) this.counts[number]! += 1
    const result = handler === undefined ? -ERRNO.ENOSYS : handler(caller, args)
    if (before !== undefined && result !== CALL_AGAIN) {
      this.hub.emit({ type: 'hypercall', domid: caller.domid, vcpu: caller.vcpu, number, sub: this.asked.get(number)?.() ?? sub, args: before, result })
    }
    return result
  }

  /** multicall(list, count): one after another; each result goes into its entry. */
  private multicall(caller: Vcpu, args: HypercallArguments): number {
    const count = args.u32(1)
    const { meter, layout: { size } } = this
    let address = args.address(0)
    let done = 0
    for (; done < count && !meter.isSpent; done += 1, address += size) {
      if (!readInto(caller.access, address, this.entry, size)) return -ERRNO.EFAULT
      const result = this.one(caller, address)
      meter.charge(WORK.element)
      if (result === CALL_SILENT || result === -ERRNO.EFAULT) return result
      if (result === CALL_AGAIN) {
        args.set(0, address)
        args.set(1, count - done)
        return CALL_AGAIN
      }
    }
    if (done === count) return 0
    args.set(0, address)
    args.set(1, count - done)
    return CALL_AGAIN
  }

  /** One entry, already copied. Not a result of the entry but of the multicall: 0 goes on. */
  private one(caller: Vcpu, address: number): number {
    const { view } = this.entry
    const { inner, layout: { op, args: { element, offset, stride }, result: answer } } = this
    const number = op.high(view, 0) === 0 ? op.low(view, 0) : NUMBERS
    for (let i = 0, at = offset; i < 6; i += 1, at += stride) {
      inner.low[i] = element.low(view, at)
      inner.high[i] = element.high(view, at)
    }
    // A multicall inside a multicall is refused: it would have no arguments of its own to go on with.
    const result = number === HYPERVISOR.multicall ? -ERRNO.EINVAL : this.call(caller, number, inner)
    if (result === CALL_SILENT) return CALL_SILENT
    if (result === CALL_AGAIN) return this.saveArguments(caller, address)
    answer.setParts(view, 0, result, Math.floor(result / TWO_32))
    const stored = this.entry.bytes.subarray(answer.offset, answer.offset + answer.size)
    return caller.access.write(address + answer.offset, stored) ? 0 : -ERRNO.EFAULT
  }

  /** Puts the arguments that an unfinished call has left into its entry, for the next time. */
  private saveArguments(caller: Vcpu, address: number): number {
    const { inner, entry: { view, bytes }, layout: { args: { element, offset, stride } } } = this
    for (let i = 0; i < 6; i += 1) element.setParts(view, offset + i * stride, inner.low[i]!, inner.high[i]!)
    return caller.access.write(address + offset, bytes.subarray(offset)) ? CALL_AGAIN : -ERRNO.EFAULT
  }
}
