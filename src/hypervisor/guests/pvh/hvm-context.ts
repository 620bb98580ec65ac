/**
 * The HVM context of a domain: records of its vCPUs' registers, local APICs, MTRRs and extended state, as tools save, restore
 * and build domains by them. A context is looked at as a whole before anything of it is taken.
 * Reference: xen/common/hvm/save.c, hvm_save, hvm_load; xen/arch/x86/hvm/save.c, arch_hvm_load; xen/arch/x86/hvm/hvm.c,
 * hvm_save_cpu_ctxt, hvm_load_cpu_ctxt, hvm_load_cpu_xsave_states, hvm_load_cpu_msrs.
 */
import {
  ERRNO, HVM_FILE_MAGIC, HVM_FILE_VERSION, HVM_SAVE_CODE, HvmHwCpu, HvmSaveDescriptor, HvmSaveHeader,
} from '../../../abi/index.ts'
import type { ProcessorState } from '../../../machine/index.ts'
import { XenError } from '../../../util/index.ts'
import { giveExtendedState, takeExtendedState } from '../processors/extended-state.ts'
import { decodeCpu, encodeCpu, isSoundCpu } from './hvm-registers.ts'
import { BEFORE_EXTENDED_STATE, RECORD_KINDS, type RecordKind } from './hvm-records.ts'
import type { ContextRecords, PvhDomain } from './pvh-domain.ts'
import type { PvhLife } from './pvh-life.ts'
import { type PvhVcpu, pvhOf } from './pvh-vcpu.ts'

/** What contexts work on. */
export interface HvmContextParts {
  readonly life: PvhLife
}

/** One record: what it is, and its bytes. */
interface RecordBytes {
  readonly code: number
  readonly instance: number
  readonly view: DataView
}

const CHANGESET = 0xffff_ffff_ffff_ffffn
/** Bytes of a CPU_XSAVE record before XCR0: which parts its host knows. */
const FEATURES_BYTES = 8
/** CPU_MSR: count and padding, then registers of 16 bytes each. */
const [MSRS_AT, MSR_BYTES, MSR_VALUE] = [8, 16, 8] as const

/** Saves and loads the contexts of all PVH domains. */
export class HvmContexts implements ContextRecords {
  private readonly parts: HvmContextParts

  constructor(parts: HvmContextParts) {
    this.parts = parts
  }

  /** All records, the last of them END. vCPUs that are down have no registers in it. */
  save(domain: PvhDomain): Uint8Array {
    const records: RecordBytes[] = [this.header(domain)]
    const present = domain.vcpus.flatMap((vcpu) => pvhOf(vcpu) ?? [])
    for (const pvh of present) if (pvh.vcpu.online) records.push(cpuRecord(pvh))
    for (const kind of RECORD_KINDS) {
      records.push(...domain.vcpus.flatMap(({ vcpu }) => recordOf(kind, domain, vcpu)))
      if (kind.code === BEFORE_EXTENDED_STATE) records.push(...present.flatMap(extendedRecord))
    }
    records.push({ code: HVM_SAVE_CODE.END, instance: 0, view: fresh(0) })
    return join(records)
  }

  /**
   * Takes a context: vCPUs whose registers it holds come up, the others go down. 0, -ENODATA for one without a beginning or
   * an end, -EINVAL or what else its records deserve, with nothing changed.
   */
  load(domain: PvhDomain, bytes: Uint8Array): number {
    const all = split(bytes)
    if (typeof all === 'number') return all
    const { records, tscKilohertz } = all
    for (const record of records) {
      const error = judge(domain, record)
      if (error !== 0) return error
    }
    const { tsc } = domain
    // Counters go on from what the records say, at the frequency of where they come from.
    const frequencyError = tscKilohertz === 0 ? 0 : domain.setTscKilohertz(tscKilohertz)
    if (frequencyError !== 0) return frequencyError
    const error = this.takeRegisters(domain, records, () => {
      domain.tsc = tsc
    })
    if (error !== 0) return error
    for (const { code, instance, view } of records) RECORD_KINDS.find((kind) => kind.code === code)?.take(domain, instance, view)
    for (const vcpu of domain.vcpus) {
      const isUp = records.some(({ code, instance }) => code === HVM_SAVE_CODE.CPU && instance === vcpu.vcpu)
      if (isUp) this.parts.life.bringUp(vcpu)
      else this.parts.life.takeOffline(vcpu)
    }
    return 0
  }

  /** Gives processors registers and extended states, or none of them. */
  private takeRegisters(domain: PvhDomain, records: readonly RecordBytes[], undo: () => void): number {
    const before = new Map<PvhVcpu, ProcessorState>()
    let error = 0
    for (const record of records) {
      if (record.code !== HVM_SAVE_CODE.CPU && record.code !== HVM_SAVE_CODE.CPU_XSAVE) continue
      const vcpu = domain.vcpus[record.instance]!
      error = vcpu.equip()
      const pvh = pvhOf(vcpu)
      if (error < 0 || pvh === undefined) break
      if (!before.has(pvh)) before.set(pvh, pvh.processor.save())
      error = record.code === HVM_SAVE_CODE.CPU ? takeCpu(pvh, record.view) : takeExtended(pvh, record.view)
      if (error < 0) break
    }
    if (error < 0) {
      undo()
      for (const [pvh, state] of before) pvh.processor.load(state)
    }
    return error
  }

  private header({ vcpus, tsc }: PvhDomain): RecordBytes {
    const view = fresh(HvmSaveHeader.size)
    const signature = vcpus[0]!.guest?.context?.cpuid(1, 0, undefined)[0] ?? 0
    HvmSaveHeader.encode(view, 0, {
      magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION, changeset: CHANGESET, cpuid: signature, gtscKhz: tsc.kilohertz,
    })
    return { code: HVM_SAVE_CODE.HEADER, instance: 0, view }
  }
}

const fresh = (bytes: number): DataView => new DataView(new ArrayBuffer(bytes))
const bytesOf = ({ buffer, byteOffset, byteLength }: DataView): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength)

function recordOf(kind: RecordKind, domain: PvhDomain, vcpu: number): RecordBytes[] {
  const view = fresh(kind.bytes)
  return kind.save(domain, vcpu, view) ? [{ code: kind.code, instance: vcpu, view }] : []
}

function cpuRecord({ processor, vcpu }: PvhVcpu): RecordBytes {
  const view = fresh(HvmHwCpu.size)
  encodeCpu(processor.save(), view, 0)
  return { code: HVM_SAVE_CODE.CPU, instance: vcpu.vcpu, view }
}

/** Which parts its host knows, XCR0, all bits that it ever had, the area. */
function extendedRecord(pvh: PvhVcpu): RecordBytes[] {
  const offered = pvh.context.offeredState()
  if (offered === 0) return []
  const state = takeExtendedState(pvh)
  const view = fresh(FEATURES_BYTES + state.length)
  view.setUint32(0, offered, true)
  bytesOf(view).set(state, FEATURES_BYTES)
  return [{ code: HVM_SAVE_CODE.CPU_XSAVE, instance: pvh.vcpu.vcpu, view }]
}

function takeCpu({ processor }: PvhVcpu, view: DataView): number {
  try {
    processor.load(decodeCpu(processor.save(), view, 0))
    return 0
  } catch (error) {
    if (XenError.is(error)) return -ERRNO.EINVAL
    throw error
  }
}

const takeExtended = (pvh: PvhVcpu, view: DataView): number =>
  giveExtendedState(pvh, bytesOf(view).subarray(FEATURES_BYTES), pvh.context.offeredState())

/** Whether a record can be one of the domain's. Registers and extended states are their processors' to judge. */
function judge(domain: PvhDomain, { code, instance, view }: RecordBytes): number {
  if (instance >= domain.vcpus.length) return -ERRNO.EINVAL
  switch (code) {
    case HVM_SAVE_CODE.CPU: return isWholeCpu(view) && isSoundCpu(view, 0) ? 0 : -ERRNO.EINVAL
    case HVM_SAVE_CODE.CPU_XSAVE: return view.byteLength >= FEATURES_BYTES ? 0 : -ERRNO.EINVAL
    case HVM_SAVE_CODE.CPU_MSR: return judgeMsrs(view)
    default: {
      const kind = RECORD_KINDS.find((one) => one.code === code)
      return kind === undefined || view.byteLength !== kind.bytes ? -ERRNO.EINVAL : kind.judge(domain, instance, view)
    }
  }
}

const isWholeCpu = (view: DataView): boolean => view.byteLength === HvmHwCpu.size

/** No register that such a record carries is offered: one that holds anything cannot be taken. */
function judgeMsrs(view: DataView): number {
  if (view.byteLength < MSRS_AT || view.byteLength !== MSRS_AT + view.getUint32(0, true) * MSR_BYTES) return -ERRNO.EINVAL
  for (let at: number = MSRS_AT; at < view.byteLength; at += MSR_BYTES) {
    if (view.getUint32(at + 4, true) !== 0) return -ERRNO.EOPNOTSUPP
    if (view.getBigUint64(at + MSR_VALUE, true) !== 0n) return -ERRNO.ENXIO
  }
  return 0
}

/** The records behind the header, up to END, and what the header says of the time-stamp counter; -ENODATA where one of the two is lacking, -EINVAL for a header that is none. */
function split(bytes: Uint8Array): { readonly records: readonly RecordBytes[]; readonly tscKilohertz: number } | number {
  const all = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const records: RecordBytes[] = []
  for (let at = 0; ;) {
    if (bytes.length - at < HvmSaveDescriptor.size) return -ERRNO.ENODATA
    const code = HvmSaveDescriptor.typecode.get(all, at)
    const length = HvmSaveDescriptor.length.get(all, at)
    if (code === HVM_SAVE_CODE.END && records.length > 0) break
    const start = at + HvmSaveDescriptor.size
    if (length > bytes.length - start) return -ERRNO.ENODATA
    records.push({ code, instance: HvmSaveDescriptor.instance.get(all, at), view: new DataView(bytes.buffer, bytes.byteOffset + start, length) })
    at = start + length
  }
  const header = records.shift()
  if (header?.code !== HVM_SAVE_CODE.HEADER || header.view.byteLength < HvmSaveHeader.size) return -ERRNO.ENODATA
  const isKnown = HvmSaveHeader.magic.get(header.view, 0) === HVM_FILE_MAGIC && HvmSaveHeader.version.get(header.view, 0) === HVM_FILE_VERSION
  return isKnown ? { records, tscKilohertz: HvmSaveHeader.gtscKhz.get(header.view, 0) } : -ERRNO.EINVAL
}

function join(records: readonly RecordBytes[]): Uint8Array {
  const size = records.reduce((sum, { view }) => sum + HvmSaveDescriptor.size + view.byteLength, 0)
  const bytes = new Uint8Array(size)
  const all = new DataView(bytes.buffer)
  let at = 0
  for (const { code, instance, view } of records) {
    HvmSaveDescriptor.encode(all, at, { typecode: code, instance, length: view.byteLength })
    bytes.set(bytesOf(view), at + HvmSaveDescriptor.size)
    at += HvmSaveDescriptor.size + view.byteLength
  }
  return bytes
}
