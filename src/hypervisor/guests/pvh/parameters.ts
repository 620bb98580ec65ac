/**
 * HVM parameters of one domain: numbers that its tools set, some of which the guest may read, and a few that it may set
 * itself. What a parameter brings about is told to whoever owns it.
 * Reference: xen/arch/x86/hvm/hvm.c, hvm_allow_set_param, hvm_set_param, hvm_allow_get_param, hvm_get_param;
 * xen/include/public/hvm/params.h.
 */
import { ERRNO, HVM_NR_PARAMS, HVM_PARAM, SHUTDOWN } from '../../../abi/index.ts'
import { type StateOf, type Stateful, shape } from '../../../util/index.ts'

/** Who asks. */
export type Asker = 'guest' | 'tools'

/** What saved parameters look like, by number. */
export const parametersShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.wide(64), HVM_NR_PARAMS, HVM_NR_PARAMS)

const P = HVM_PARAM
/** Numbers that have no meaning any more: they cannot be had. */
const [DEVICE_MODEL_DOMAIN, BUFFERED_REQUEST_PORT] = [13, 26] as const
const DEPRECATED: ReadonlySet<number> = /* @__PURE__ */ new Set([DEVICE_MODEL_DOMAIN, BUFFERED_REQUEST_PORT])
const GUEST_SETS: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  P.CALLBACK_IRQ, P.VM86_TSS, P.VM86_TSS_SIZED, P.ACPI_S_STATE, P.VM_GENERATION_ID_ADDR, P.STORE_EVTCHN, P.CONSOLE_EVTCHN, P.X87_FIP_WIDTH,
])
const GUEST_READS: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  P.CALLBACK_IRQ, P.VM86_TSS, P.VM86_TSS_SIZED, P.ACPI_S_STATE, P.VM_GENERATION_ID_ADDR, P.STORE_PFN, P.STORE_EVTCHN, P.CONSOLE_PFN,
  P.CONSOLE_EVTCHN, P.ALTP2M, P.X87_FIP_WIDTH,
])
/** What is set stays. */
const ONCE: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([P.VIRIDIAN, P.IOREQ_SERVER_PFN, P.NR_IOREQ_SERVER_PAGES, P.ALTP2M, P.MCA_CAP])

const oneOf = (...values: readonly number[]) => (value: bigint): boolean => values.some((one) => BigInt(one) === value)
const upTo = (most: number) => (value: bigint): boolean => value <= BigInt(most)
const none = (): boolean => false
/** What a parameter takes; any number where nothing is said. */
const TAKES: ReadonlyMap<number, (value: bigint) => boolean> = /* @__PURE__ */ new Map<number, (value: bigint) => boolean>([
  [P.TIMER_MODE, /* @__PURE__ */ upTo(3)], [P.ALTP2M, /* @__PURE__ */ oneOf(0)], [P.TRIPLE_FAULT_REASON, /* @__PURE__ */ upTo(SHUTDOWN.soft_reset)],
  [P.X87_FIP_WIDTH, /* @__PURE__ */ oneOf(0, 4, 8)], [P.ACPI_S_STATE, /* @__PURE__ */ oneOf(0, 3)], [P.VM86_TSS, /* @__PURE__ */ upTo(0xffff_ffff)],
  // There is no device model to serve, nobody to imitate, no power management, and no machine check to be told of.
  [P.NR_IOREQ_SERVER_PAGES, none], [P.VIRIDIAN, none], [P.ACPI_IOPORTS_LOCATION, none], [P.MCA_CAP, none],
])

/** Parameters of one domain. */
export class Parameters implements Stateful<StateOf<typeof parametersShape>> {
  private readonly values = new Array<bigint>(HVM_NR_PARAMS).fill(0n)
  private readonly changed: (index: number, value: bigint) => void

  /** `changed` hears of what has been set. */
  constructor(changed: (index: number, value: bigint) => void) {
    this.changed = changed
    this.values[P.TRIPLE_FAULT_REASON] = BigInt(SHUTDOWN.reboot)
  }

  /** The value, -EINVAL for no parameter, -EPERM for what the guest may not read, -ENODATA for what nobody can. */
  get(index: number, asker: Asker): bigint | number {
    if (!(index >= 0 && index < HVM_NR_PARAMS)) return -ERRNO.EINVAL
    if (DEPRECATED.has(index)) return -ERRNO.ENODATA
    if (asker === 'guest' && !GUEST_READS.has(index)) return -ERRNO.EPERM
    return index === P.VM86_TSS ? BigInt.asUintN(32, this.values[P.VM86_TSS_SIZED]!) : this.values[index]!
  }

  /** 0; -EINVAL for no parameter and for a value that it does not take, -EPERM, -EEXIST for what is set already. */
  set(index: number, value: bigint, asker: Asker): number {
    if (!(index >= 0 && index < HVM_NR_PARAMS)) return -ERRNO.EINVAL
    if (DEPRECATED.has(index) || (asker === 'guest' && !GUEST_SETS.has(index))) return -ERRNO.EPERM
    if (ONCE.has(index) && this.values[index] !== 0n && this.values[index] !== value) return -ERRNO.EEXIST
    if (value < 0n || value >= 2n ** 64n || TAKES.get(index)?.(value) === false) return -ERRNO.EINVAL
    // The task of virtual-8086 mode is kept with its size, which was fixed once.
    if (index === P.VM86_TSS) this.values[P.VM86_TSS_SIZED] = value === 0n ? 0n : value | (128n << 32n)
    else if (index !== P.ACPI_S_STATE) this.values[index] = value
    this.changed(index, value)
    return 0
  }

  save(): StateOf<typeof parametersShape> {
    return [...this.values]
  }

  load(state: StateOf<typeof parametersShape>): void {
    state.forEach((value, index) => {
      this.values[index] = value
    })
  }
}
