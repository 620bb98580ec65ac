/**
 * PVH guests of a few bytes of machine code on a hypervisor over the real machine: code at 1 MiB, entered as Xen enters a PVH
 * kernel, in 32-bit protected mode without paging.
 */
import {
  HVM_FILE_MAGIC, HVM_FILE_VERSION, HVM_SAVE_CODE, HvmHwCpu, HvmSaveDescriptor, HvmSaveHeader,
} from '../../src/abi/index.ts'
import type { Hypervisor } from '../../src/hypervisor/index.ts'
import type { DomId, Mfn } from '../../src/util/index.ts'
import { assemble } from './assembler.ts'
import { MachineHost, type MachineHostOptions, SOURCE } from './machine-host.ts'

/** Where code lies, guest-physical, and the end of the stack. */
export const CODE = 0x10_0000
export const STACK = 0x11_0000
/** Address in EBX at the entry. */
export const START_INFO = 0x12_0000
/** Frames of memory from 0 on. */
const FRAMES = 512

/** One record of an HVM context. */
export interface ContextRecord {
  readonly code: number
  readonly instance?: number
  readonly bytes: Uint8Array
}

/** An HVM context of these records, between HEADER and END. */
export function hvmContext(records: readonly ContextRecord[]): Uint8Array {
  const header = new Uint8Array(HvmSaveHeader.size)
  HvmSaveHeader.encode(new DataView(header.buffer), 0, { magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION })
  const all = [{ code: HVM_SAVE_CODE.HEADER, bytes: header }, ...records, { code: HVM_SAVE_CODE.END, bytes: new Uint8Array(0) }]
  return Uint8Array.from(all.flatMap(({ code, instance = 0, bytes }: ContextRecord) => {
    const descriptor = new Uint8Array(HvmSaveDescriptor.size)
    HvmSaveDescriptor.encode(new DataView(descriptor.buffer), 0, { typecode: code, instance, length: bytes.length })
    return [...descriptor, ...bytes]
  }))
}

/** The CPU record of a vCPU that is entered at `rip`, as Xen's builder fills it; fields may be replaced. */
export function entryRecord(rip: number, changes: Parameters<typeof HvmHwCpu.encode>[2] = {}): Uint8Array {
  const bytes = new Uint8Array(HvmHwCpu.size)
  const flat = { limit: 0xffff_ffff, code: 0xc9b, data: 0xc93 }
  HvmHwCpu.encode(new DataView(bytes.buffer), 0, {
    rip: BigInt(rip), rbx: BigInt(START_INFO), rsp: BigInt(STACK), cr0: 0x11n, rflags: 2n, dr6: 0xffff_0ff0n, dr7: 0x400n,
    csLimit: flat.limit, dsLimit: flat.limit, esLimit: flat.limit, ssLimit: flat.limit, trLimit: 0x67,
    csArbytes: flat.code, dsArbytes: flat.data, esArbytes: flat.data, ssArbytes: flat.data, trArbytes: 0x8b, ...changes,
  })
  return bytes
}

/** A domain that executes a listing of 32-bit code. */
export class PvhTestGuest {
  readonly host: MachineHost
  readonly hypervisor: Hypervisor
  readonly domid: DomId
  readonly frames: readonly Mfn[]
  readonly code: Uint8Array

  constructor(listing: string, options: MachineHostOptions & { readonly vcpus?: number; readonly host?: MachineHost } = {}) {
    this.host = options.host ?? new MachineHost(SOURCE, options)
    this.hypervisor = this.host.hypervisor
    const { hypervisor } = this
    this.domid = hypervisor.createDomain({ kind: 'pvh', vcpus: options.vcpus ?? 1, maxPages: FRAMES + 64 })
    this.frames = hypervisor.populatePhysmap(this.domid, FRAMES, 0)
    this.code = assemble(listing, { origin: CODE, codeSize: 32 })
    this.write(CODE, this.code)
    hypervisor.setHvmContext(this.domid, hvmContext([{ code: HVM_SAVE_CODE.CPU, bytes: entryRecord(CODE) }]))
    hypervisor.unpauseDomain(this.domid)
  }

  /** Byte address in host memory of a guest-physical one. */
  place(address: number): number {
    const mfn = this.hypervisor.frameOfGfn(this.domid, address >>> 12)
    if (mfn === undefined) throw new Error(`nothing lies at ${address.toString(16)}`)
    return mfn * 4096 + (address & 4095)
  }

  write(address: number, bytes: ArrayLike<number>): void {
    Array.from(bytes).forEach((byte, i) => {
      this.host.machine.memory.bytes[this.place(address + i)] = byte
    })
    for (let at = address; at < address + bytes.length + 4095; at += 4096) this.hypervisor.markWritten((this.place(Math.min(at, address + bytes.length - 1)) >>> 12) as Mfn)
  }

  read32(address: number): number {
    return this.host.machine.memory.view.getUint32(this.place(address), true)
  }

  write32(address: number, value: number): void {
    this.write(address, [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff))
  }

  /** Runs until nothing is left to do, or for so many instructions. */
  run(instructions = 100_000): void {
    this.hypervisor.run({ instructions })
  }

  /** What does not add up on its host. */
  problems(): unknown[] {
    return this.hypervisor.checkInvariants()
  }
}
