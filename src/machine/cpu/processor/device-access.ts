/**
 * One instruction that is carried out over the devices of a processor's host: its data accesses to one page become calls of
 * a device, its ports those that the host gives for it. While it runs every data access passes the slow path (State.watch),
 * which asks here; an access to the device's page is handed the address of eight bytes of the processor's own, which a load
 * finds filled and whose content goes to the device once the instruction is done.
 *
 * Not here: accesses of more than eight bytes, which no device has, and code, which no device holds.
 */
import { DR6, PAGE_SIZE, RFLAGS } from '../../../x86/index.ts'
import { highPart, lowPart } from '../../../util/index.ts'
import type { MemoryDevice, PortSource } from '../../interface/sources.ts'
import type { Core } from '../core/core.ts'
import type { AccessTarget } from '../core/debug.ts'
import { STORE_ASIDE, State, WATCH } from '../layout/state.ts'

/** What a host has for one instruction. */
export interface HostDevices {
  readonly memory?: MemoryDevice
  readonly ports?: PortSource
}

const SIZES = [1, 2, 4, 8]
const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE)

/** Executes such instructions on one core. */
export class DeviceAccess implements AccessTarget {
  private readonly core: Core
  private memory: MemoryDevice | undefined
  /** The page: linear address, guest-physical address. */
  private linear = 0
  private physical = 0
  private isRefused = false
  private stored: { readonly address: number; readonly bytes: number } | undefined

  constructor(core: Core) {
    this.core = core
  }

  /** Notes which page the access that has just failed was to: an address of it in both kinds. */
  note(linear: number, physical: number): void {
    this.linear = pageOf(linear) * PAGE_SIZE
    this.physical = pageOf(physical) * PAGE_SIZE
  }

  /** Has `run` execute one instruction, which says whether it is done; false also when an access is none of a device's. */
  execute({ memory, ports }: HostDevices, run: () => boolean): boolean {
    const { core } = this
    const { view, base } = core.registers
    const before = core.outside.ports
    const isTraced = (State.systemFlags.get(view, base) & RFLAGS.TF) !== 0
    this.memory = memory
    this.isRefused = false
    this.stored = undefined
    core.outside.ports = ports ?? before
    core.debug.aside = this
    State.watch.set(view, base, State.watch.get(view, base) | WATCH.ASIDE)
    let isDone = false
    try {
      isDone = run() && !this.isRefused
    } finally {
      core.outside.ports = before
      core.debug.aside = undefined
      // Gives back the watching that others ask for.
      core.mode.updatePermissions()
    }
    if (isDone) {
      this.store()
      if (isTraced) core.debug.pending |= DR6.BS
    }
    return isDone
  }

  /** True when the last instruction has failed because of an access that is none of a device's. */
  get hasRefused(): boolean {
    return this.isRefused
  }

  access(address: number, bytes: number, isWrite: boolean): number {
    const offset = address - this.linear
    if (this.memory === undefined || offset < 0 || offset >= PAGE_SIZE) return 1
    if (!SIZES.includes(bytes) || offset + bytes > PAGE_SIZE) {
      this.isRefused = true
      return 0
    }
    const { view, base } = this.core.registers
    const at = base + STORE_ASIDE.offset
    const value = this.memory.read(this.physical + offset, bytes)
    view.setUint32(at, lowPart(value), true)
    view.setUint32(at + 4, highPart(value), true)
    if (isWrite) this.stored = { address: this.physical + offset, bytes }
    return at
  }

  /** Gives the device what the instruction has stored. */
  private store(): void {
    if (this.stored === undefined) return
    const { address, bytes } = this.stored
    const { view, base } = this.core.registers
    const at = base + STORE_ASIDE.offset
    const low = bytes === 1 ? view.getUint8(at) : bytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true)
    this.memory!.write(address, bytes, bytes === 8 ? low + view.getUint32(at + 4, true) * 0x1_0000_0000 : low)
  }
}
