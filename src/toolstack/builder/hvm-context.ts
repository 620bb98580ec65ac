/**
 * Records of an HVM context as the toolstack makes and reads them: one behind the other, each behind its descriptor.
 * What the records of vCPUs mean is the hypervisor's; here are those with which a PVH kernel starts.
 * Reference: xen/include/public/hvm/save.h; xen/tools/libs/guest/xg_dom_x86.c, vcpu_hvm.
 */
import { HVM_SAVE_CODE, HvmHwCpu, HvmHwMtrr, HvmSaveDescriptor } from '../../abi/index.ts'

/** One record. */
export interface HvmRecord {
  readonly type: number
  readonly instance: number
  readonly body: Uint8Array
}

/** The records of a context, up to and without END; a context that is cut short has those that are whole. */
export function splitHvmContext(context: Uint8Array): HvmRecord[] {
  const view = new DataView(context.buffer, context.byteOffset, context.byteLength)
  const records: HvmRecord[] = []
  for (let at = 0; at + HvmSaveDescriptor.size <= context.length;) {
    const { typecode: type, instance, length } = HvmSaveDescriptor.decode(view, at)
    at += HvmSaveDescriptor.size
    if (type === HVM_SAVE_CODE.END || at + length > context.length) break
    records.push({ type, instance, body: context.subarray(at, at + length) })
    at += length
  }
  return records
}

/** The bytes of records, with the END that closes them. */
export function joinHvmContext(records: readonly HvmRecord[]): Uint8Array {
  const all = [...records, { type: HVM_SAVE_CODE.END, instance: 0, body: new Uint8Array(0) }]
  const bytes = new Uint8Array(all.reduce((sum, { body }) => sum + HvmSaveDescriptor.size + body.length, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const { type, instance, body } of all) {
    HvmSaveDescriptor.encode(view, at, { typecode: type, instance, length: body.length })
    bytes.set(body, at + HvmSaveDescriptor.size)
    at += HvmSaveDescriptor.size + body.length
  }
  return bytes
}

/** CR0: protected mode, and the bit that is always set. */
const CR0 = 0x11n
/** Always set in RFLAGS. */
const RFLAGS = 2n
const DR6 = 0xffff0ff0n
const DR7 = 0x400n
/** Rights of flat segments of 32 bits, and of a task that is busy. */
const CODE = 0xc9b
const DATA = 0xc93
const TASK = 0x8b
const WHOLE = 0xffff_ffff
const TASK_LIMIT = 0x67
/** MTRRs are on; memory is write-back unless one says otherwise. */
const WRITE_BACK = 0x806n

/** vCPU 0's first registers: 32-bit protected mode without paging, start info in EBX. */
function firstRegisters(entry: number, startInfo: number): Uint8Array {
  const body = new Uint8Array(HvmHwCpu.size)
  HvmHwCpu.encode(new DataView(body.buffer), 0, {
    rip: BigInt(entry), rbx: BigInt(startInfo), rflags: RFLAGS, cr0: CR0, dr6: DR6, dr7: DR7,
    csLimit: WHOLE, dsLimit: WHOLE, esLimit: WHOLE, ssLimit: WHOLE, trLimit: TASK_LIMIT,
    csArbytes: CODE, dsArbytes: DATA, esArbytes: DATA, ssArbytes: DATA, trArbytes: TASK,
  })
  return body
}

/** A vCPU's MTRR record with memory write-back. */
function writeBack(record: Uint8Array): Uint8Array {
  const body = record.slice()
  HvmHwMtrr.msrMtrrDefType.set(new DataView(body.buffer), 0, WRITE_BACK)
  return body
}

/** The context with which a PVH kernel starts, made of what the domain's fresh vCPUs have. */
export function initialHvmContext(
  fresh: Uint8Array, { entry, startInfo }: { readonly entry: number; readonly startInfo: number },
): Uint8Array {
  const records = splitHvmContext(fresh)
  return joinHvmContext([
    ...records.filter(({ type }) => type === HVM_SAVE_CODE.HEADER),
    { type: HVM_SAVE_CODE.CPU, instance: 0, body: firstRegisters(entry, startInfo) },
    ...records.filter(({ type }) => type === HVM_SAVE_CODE.MTRR).map((record) => ({ ...record, body: writeBack(record.body) })),
  ])
}
