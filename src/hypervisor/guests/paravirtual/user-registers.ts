/** A PV vCPU's registers and tables as plain data, for whoever reads them all: contexts, crash reports. */
import { VMASST_TYPE } from '../../../abi/index.ts'
import { bigFromParts } from '../../../util/index.ts'
import { GPR, type GprName, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { TrapInfoEntry, VcpuUserRegisters } from '../../domains/vcpu-registers.ts'
import { setAssist } from '../../hypercalls/vm-assist.ts'
import type { ParavirtualVcpu } from './paravirtual-vcpu.ts'

/** Names of the general registers. */
export const GENERAL: readonly GprName[] = /* @__PURE__ */ Object.keys(GPR) as GprName[]

/** DR0 to DR7; there is no DR4 and DR5. */
export function debugRegisters(pv: ParavirtualVcpu): bigint[] {
  const { registers } = pv.processor
  const value = (i: number): bigint => bigFromParts(registers.debugLow(i), registers.debugHigh(i))
  return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => (i === 4 || i === 5 ? 0n : value(i)))
}

/** The registers that user code knows. */
export function userRegisters(pv: ParavirtualVcpu): VcpuUserRegisters {
  const { registers } = pv.processor
  const value = (name: GprName): bigint => bigFromParts(registers.low(GPR[name]), registers.high(GPR[name]))
  const general = Object.fromEntries(GENERAL.map((name) => [name, value(name)]))
  const selector = (index: number): number => registers.segment(index).selector
  const cs = selector(SEGMENT.cs)
  return {
    // GENERAL names every general register.
    ...(general as Record<GprName, bigint>),
    rip: BigInt.asUintN(64, BigInt(registers.rip())),
    rflags: BigInt(((registers.flags() & ~RFLAGS.IOPL) | pv.iopl) >>> 0),
    cs, ss: selector(SEGMENT.ss), ds: selector(SEGMENT.ds), es: selector(SEGMENT.es), fs: selector(SEGMENT.fs),
    gs: selector(SEGMENT.gs), savedUpcallMask: 0,
  }
}

/** The handlers that the guest has. */
export function trapTable(pv: ParavirtualVcpu): TrapInfoEntry[] {
  const traps: TrapInfoEntry[] = []
  for (let vector = 0; vector < 256; vector += 1) {
    const target = bigFromParts(pv.trapLow[vector]!, pv.trapHigh[vector]!)
    if (target === 0n) continue
    traps.push({ vector, flags: pv.trapFlags[vector]!, cs: pv.trapSelector[vector]!, address: target })
  }
  return traps
}

/** Puts the assists in force that a first vCPU comes with. */
export function assistsFrom(vcpu: Vcpu, assists: bigint): void {
  for (const type of Object.values(VMASST_TYPE)) setAssist(vcpu.owner, type, (assists >> BigInt(type) & 1n) === 1n)
}

/** The assists of its domain. */
export function assistsOf(vcpu: Vcpu): bigint {
  const strict = vcpu.owner.hidesMachineToPhys ? 1n << BigInt(VMASST_TYPE.m2p_strict) : 0n
  return BigInt(vcpu.owner.assists >>> 0) | strict
}
