/**
 * Records of the libxc image and of the libxl container as discriminated unions, each with its encoder and its
 * decoder. Bodies come from outside: lengths, counts and reserved fields are checked, and an error names the record.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc, libxl-migration-stream.pandoc.
 */
import type { CpuidLeaf, MsrEntry } from '../../hypervisor/index.ts'
import { ByteReader, ByteWriter, XenError } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { IMAGE_RECORD, LIBXL_RECORD, RECORD_OPTIONAL } from './format.ts'
import {
  type Allocate, type PageBatch, type PageEntry,
  decodePageBatch, encodePageSource, entriesOf, sourceOf,
} from './page-data.ts'

export type { CpuidLeaf, MsrEntry }

/** One parameter of a translated guest. */
export interface HvmParam {
  readonly index: number
  readonly value: bigint
}

/** Records of a vCPU whose body is its number and an opaque blob. */
export type VcpuBlobType = 'vcpu-basic' | 'vcpu-extended' | 'vcpu-xsave'

/** One record of the image. */
export type ImageRecord =
  | { readonly type: 'end' | 'verify' | 'checkpoint' | 'static-data-end' }
  | { readonly type: 'page-data'; readonly pages: readonly PageEntry[] }
  | { readonly type: 'pv-info'; readonly guestWidth: number; readonly pageTableLevels: number }
  | {
      readonly type: 'p2m-frames'
      readonly startPfn: number
      readonly endPfn: number
      readonly frames: readonly number[]
    }
  | { readonly type: VcpuBlobType; readonly vcpu: number; readonly blob: Uint8Array }
  | { readonly type: 'vcpu-msrs'; readonly vcpu: number; readonly msrs: readonly MsrEntry[] }
  | { readonly type: 'shared-info'; readonly page: Uint8Array }
  | {
      readonly type: 'tsc-info'
      readonly mode: number
      readonly khz: number
      readonly nanoseconds: bigint
      readonly incarnation: number
    }
  | { readonly type: 'cpuid-policy'; readonly leaves: readonly CpuidLeaf[] }
  | { readonly type: 'msr-policy'; readonly msrs: readonly MsrEntry[] }
  /** State of a translated guest's vCPUs, in records of its own. */
  | { readonly type: 'hvm-context'; readonly context: Uint8Array }
  | { readonly type: 'hvm-params'; readonly params: readonly HvmParam[] }
  /** An optional record that this version does not know. */
  | { readonly type: 'unknown'; readonly number: number }

/** One record of the image, with pages in bulk. */
export type BulkRecord =
  | Exclude<ImageRecord, { readonly type: 'page-data' }>
  | { readonly type: 'page-data'; readonly batch: PageBatch }

/** One record of the container. */
export type LibxlRecord =
  | { readonly type: 'end' | 'libxc-context' | 'checkpoint-end' }
  | {
      readonly type: 'emulator-xenstore'
      readonly emulator: number
      readonly index: number
      readonly entries: readonly (readonly [string, string])[]
    }
  | { readonly type: 'emulator-context'; readonly emulator: number; readonly index: number; readonly blob: Uint8Array }
  | { readonly type: 'checkpoint-state'; readonly id: number }
  | { readonly type: 'unknown'; readonly number: number }

/** A record as it lies in the stream. */
export interface RawRecord {
  readonly type: number
  readonly body: Uint8Array
}

const bad = (what: string, details: Record<string, unknown> = {}): XenError =>
  new XenError('INVALID_STREAM', what, { details })

/** Throws unless `condition`; `what` says which rule of the format is broken. */
function require(condition: boolean, what: string, details?: Record<string, unknown>): void {
  if (!condition) throw bad(what, details)
}

const empty = (): Uint8Array => new Uint8Array(0)

const fresh: Allocate = (size) => new Uint8Array(size)

function decodePvInfo(body: Uint8Array): ImageRecord {
  require(body.length === 8, 'X86_PV_INFO: not 8 bytes', { length: body.length })
  const [guestWidth, pageTableLevels, ...reserved] = body
  require(guestWidth === 4 || guestWidth === 8, `X86_PV_INFO: guest width ${guestWidth} is not 4 or 8`)
  require(pageTableLevels === 3
    || pageTableLevels === 4, `X86_PV_INFO: ${pageTableLevels} page-table levels are not 3 or 4`)
  require(reserved.every((byte) => byte === 0), 'X86_PV_INFO: reserved bytes are not zero')
  return { type: 'pv-info', guestWidth: guestWidth!, pageTableLevels: pageTableLevels! }
}

function encodeP2mFrames(record: Extract<ImageRecord, { type: 'p2m-frames' }>): Uint8Array {
  const out = new ByteWriter(8 + record.frames.length * 8).u32(record.startPfn).u32(record.endPfn)
  for (const frame of record.frames) out.u64(BigInt(frame))
  return out.finish()
}

function decodeP2mFrames(body: Uint8Array): ImageRecord {
  const reader = new ByteReader(body, 'X86_PV_P2M_FRAMES')
  const startPfn = reader.u32()
  const endPfn = reader.u32()
  require(startPfn <= endPfn, `X86_PV_P2M_FRAMES: start ${startPfn} lies beyond end ${endPfn}`)
  require(reader.remaining % 8 === 0, 'X86_PV_P2M_FRAMES: not a whole number of frames')
  const frames = Array.from({ length: reader.remaining / 8 }, () => Number(reader.u64()))
  return { type: 'p2m-frames', startPfn, endPfn, frames }
}

const encodeVcpuBlob = (record: { vcpu: number; blob: Uint8Array }): Uint8Array =>
  new ByteWriter(8 + record.blob.length).u32(record.vcpu).u32(0).bytes(record.blob).finish()

/** The header that all records of a vCPU begin with. */
function vcpuHeader(reader: ByteReader): number {
  const vcpu = reader.u32()
  require(reader.u32() === 0, 'vCPU record: reserved field is not zero')
  return vcpu
}

const decodeVcpuBlob = (type: VcpuBlobType) => (body: Uint8Array): ImageRecord => {
  const reader = new ByteReader(body, type)
  const vcpu = vcpuHeader(reader)
  return { type, vcpu, blob: reader.bytes(reader.remaining) }
}

function encodeMsrs(msrs: readonly MsrEntry[], out = new ByteWriter()): Uint8Array {
  for (const { index, value } of msrs) out.u32(index).u32(0).u64(value)
  return out.finish()
}

function decodeMsrs(reader: ByteReader): MsrEntry[] {
  require(reader.remaining % 16 === 0, 'MSR record: not a whole number of entries')
  return Array.from({ length: reader.remaining / 16 }, () => {
    const index = reader.u32()
    require(reader.u32() === 0, 'MSR record: reserved field is not zero', { index })
    return { index, value: reader.u64() }
  })
}

function decodeVcpuMsrs(body: Uint8Array): ImageRecord {
  const reader = new ByteReader(body, 'X86_PV_VCPU_MSRS')
  const vcpu = vcpuHeader(reader)
  return { type: 'vcpu-msrs', vcpu, msrs: decodeMsrs(reader) }
}

function decodeSharedInfo(body: Uint8Array): ImageRecord {
  require(body.length === PAGE_SIZE, `SHARED_INFO: ${body.length} bytes are not a page`)
  return { type: 'shared-info', page: body }
}

const encodeTscInfo = (record: Extract<ImageRecord, { type: 'tsc-info' }>): Uint8Array =>
  new ByteWriter(24).u32(record.mode).u32(record.khz).u64(record.nanoseconds).u32(record.incarnation).u32(0).finish()

function decodeTscInfo(body: Uint8Array): ImageRecord {
  require(body.length === 24, `X86_TSC_INFO: ${body.length} bytes are not 24`)
  const reader = new ByteReader(body, 'X86_TSC_INFO')
  return {
    type: 'tsc-info',
    mode: reader.u32(),
    khz: reader.u32(),
    nanoseconds: reader.u64(),
    incarnation: reader.u32(),
  }
}

function encodeCpuidPolicy(leaves: readonly CpuidLeaf[]): Uint8Array {
  const out = new ByteWriter(leaves.length * 24)
  for (const leaf of leaves)
    out.u32(leaf.leaf).u32(leaf.subleaf).u32(leaf.eax).u32(leaf.ebx).u32(leaf.ecx).u32(leaf.edx)
  return out.finish()
}

function decodeCpuidPolicy(body: Uint8Array): ImageRecord {
  require(body.length > 0 && body.length % 24 === 0, 'X86_CPUID_POLICY: not a whole number of leaves')
  const reader = new ByteReader(body, 'X86_CPUID_POLICY')
  const leaves = Array.from({ length: body.length / 24 }, (): CpuidLeaf => ({
    leaf: reader.u32(),
    subleaf: reader.u32(),
    eax: reader.u32(),
    ebx: reader.u32(),
    ecx: reader.u32(),
    edx: reader.u32(),
  }))
  return { type: 'cpuid-policy', leaves }
}

function encodeHvmParams(params: readonly HvmParam[]): Uint8Array {
  const out = new ByteWriter(8 + params.length * 16).u32(params.length).u32(0)
  for (const { index, value } of params) out.u64(BigInt(index)).u64(value)
  return out.finish()
}

function decodeHvmParams(body: Uint8Array): ImageRecord {
  const reader = new ByteReader(body, 'HVM_PARAMS')
  const count = reader.u32()
  require(reader.u32() === 0, 'HVM_PARAMS: reserved field is not zero')
  require(reader.remaining === count * 16, `HVM_PARAMS: ${count} parameters do not fill ${reader.remaining} bytes`)
  const params = Array.from({ length: count }, (): HvmParam => ({ index: Number(reader.u64()), value: reader.u64() }))
  return { type: 'hvm-params', params }
}

function decodeHvmContext(body: Uint8Array): ImageRecord {
  require(body.length > 0, 'HVM_CONTEXT: it is empty')
  return { type: 'hvm-context', context: body }
}

/** A record without a body. */
const bare = (type: 'end' | 'verify' | 'checkpoint' | 'static-data-end') => (body: Uint8Array): ImageRecord => {
  require(body.length === 0, `record '${type}' has a body of ${body.length} bytes`)
  return { type }
}

const imageDecoders: ReadonlyMap<number, (body: Uint8Array) => ImageRecord> = /* @__PURE__ */ new Map([
  [IMAGE_RECORD.END, bare('end')],
  [IMAGE_RECORD.PAGE_DATA, (body): ImageRecord => ({ type: 'page-data', pages: entriesOf(decodePageBatch(body)) })],
  [IMAGE_RECORD.X86_PV_INFO, decodePvInfo],
  [IMAGE_RECORD.X86_PV_P2M_FRAMES, decodeP2mFrames],
  [IMAGE_RECORD.X86_PV_VCPU_BASIC, decodeVcpuBlob('vcpu-basic')],
  [IMAGE_RECORD.X86_PV_VCPU_EXTENDED, decodeVcpuBlob('vcpu-extended')],
  [IMAGE_RECORD.X86_PV_VCPU_XSAVE, decodeVcpuBlob('vcpu-xsave')],
  [IMAGE_RECORD.SHARED_INFO, decodeSharedInfo],
  [IMAGE_RECORD.X86_TSC_INFO, decodeTscInfo],
  [IMAGE_RECORD.X86_PV_VCPU_MSRS, decodeVcpuMsrs],
  [IMAGE_RECORD.HVM_CONTEXT, decodeHvmContext],
  [IMAGE_RECORD.HVM_PARAMS, decodeHvmParams],
  [IMAGE_RECORD.VERIFY, bare('verify')],
  [IMAGE_RECORD.CHECKPOINT, bare('checkpoint')],
  [IMAGE_RECORD.STATIC_DATA_END, bare('static-data-end')],
  [IMAGE_RECORD.X86_CPUID_POLICY, decodeCpuidPolicy],
  [
    IMAGE_RECORD.X86_MSR_POLICY,
    (body): ImageRecord => ({ type: 'msr-policy', msrs: decodeMsrs(new ByteReader(body, 'X86_MSR_POLICY')) }),
  ],
])

/** Decodes a record of the image. Throws INVALID_STREAM for a mandatory record that is unknown or malformed. */
export function decodeImageRecord({ type, body }: RawRecord): ImageRecord {
  const decode = imageDecoders.get(type)
  if (decode !== undefined) return decode(body)
  if (type >= RECORD_OPTIONAL) return { type: 'unknown', number: type }
  throw bad(`image record type 0x${type.toString(16)} is unknown`, { type })
}

/** Decodes a record of the image, a PAGE_DATA record in bulk. */
export function decodeBulkRecord(record: RawRecord): BulkRecord {
  if (record.type === IMAGE_RECORD.PAGE_DATA) return { type: 'page-data', batch: decodePageBatch(record.body) }
  // There is no other number for pages.
  return decodeImageRecord(record) as Exclude<ImageRecord, { readonly type: 'page-data' }>
}

/** Encodes a record of the image; the memory for pages, which are most of it, comes from `allocate`. */
export function encodeImageRecord(record: ImageRecord, allocate: Allocate = fresh): RawRecord {
  switch (record.type) {
    case 'end': return { type: IMAGE_RECORD.END, body: empty() }
    case 'verify': return { type: IMAGE_RECORD.VERIFY, body: empty() }
    case 'checkpoint': return { type: IMAGE_RECORD.CHECKPOINT, body: empty() }
    case 'static-data-end': return { type: IMAGE_RECORD.STATIC_DATA_END, body: empty() }
    case 'page-data': return { type: IMAGE_RECORD.PAGE_DATA, body: encodePageSource(sourceOf(record.pages), allocate) }
    case 'pv-info':
      return {
        type: IMAGE_RECORD.X86_PV_INFO,
        body: new Uint8Array([record.guestWidth, record.pageTableLevels, 0, 0, 0, 0, 0, 0]),
      }
    case 'p2m-frames':
      return { type: IMAGE_RECORD.X86_PV_P2M_FRAMES, body: encodeP2mFrames(record) }
    case 'vcpu-basic':
      return { type: IMAGE_RECORD.X86_PV_VCPU_BASIC, body: encodeVcpuBlob(record) }
    case 'vcpu-extended':
      return { type: IMAGE_RECORD.X86_PV_VCPU_EXTENDED, body: encodeVcpuBlob(record) }
    case 'vcpu-xsave':
      return { type: IMAGE_RECORD.X86_PV_VCPU_XSAVE, body: encodeVcpuBlob(record) }
    case 'vcpu-msrs':
      return {
        type: IMAGE_RECORD.X86_PV_VCPU_MSRS,
        body: encodeMsrs(record.msrs, new ByteWriter().u32(record.vcpu).u32(0)),
      }
    case 'shared-info':
      return { type: IMAGE_RECORD.SHARED_INFO, body: record.page }
    case 'tsc-info':
      return { type: IMAGE_RECORD.X86_TSC_INFO, body: encodeTscInfo(record) }
    case 'cpuid-policy':
      return { type: IMAGE_RECORD.X86_CPUID_POLICY, body: encodeCpuidPolicy(record.leaves) }
    case 'msr-policy':
      return { type: IMAGE_RECORD.X86_MSR_POLICY, body: encodeMsrs(record.msrs) }
    case 'hvm-context':
      return { type: IMAGE_RECORD.HVM_CONTEXT, body: record.context }
    case 'hvm-params':
      return { type: IMAGE_RECORD.HVM_PARAMS, body: encodeHvmParams(record.params) }
    case 'unknown':
      throw new XenError('INVALID_ARGUMENT', 'an unknown record cannot be written')
  }
}

/** Splits `key\0value\0...` into pairs. */
function decodePairs(body: Uint8Array): (readonly [string, string])[] {
  const text = new TextDecoder().decode(body)
  require(text === '' || text.endsWith('\0'), 'EMULATOR_XENSTORE_DATA: last value is not terminated')
  const parts = text.split('\0').slice(0, -1)
  require(parts.length % 2 === 0, 'EMULATOR_XENSTORE_DATA: a key has no value')
  return Array.from({ length: parts.length / 2 }, (_, i) => [parts[2 * i]!, parts[2 * i + 1]!] as const)
}

/** Decodes a record of the container. Throws INVALID_STREAM for a mandatory record that is unknown or malformed. */
export function decodeLibxlRecord({ type, body }: RawRecord): LibxlRecord {
  const reader = new ByteReader(body, `libxl record ${type}`)
  const noBody = (name: 'end' | 'libxc-context' | 'checkpoint-end'): LibxlRecord => {
    require(body.length === 0, `libxl record '${name}' has a body of ${body.length} bytes`)
    return { type: name }
  }
  switch (type) {
    case LIBXL_RECORD.END: return noBody('end')
    case LIBXL_RECORD.LIBXC_CONTEXT: return noBody('libxc-context')
    case LIBXL_RECORD.CHECKPOINT_END: return noBody('checkpoint-end')
    case LIBXL_RECORD.EMULATOR_XENSTORE_DATA:
      return {
        type: 'emulator-xenstore',
        emulator: reader.u32(),
        index: reader.u32(),
        entries: decodePairs(reader.bytes(reader.remaining)),
      }
    case LIBXL_RECORD.EMULATOR_CONTEXT:
      return {
        type: 'emulator-context',
        emulator: reader.u32(),
        index: reader.u32(),
        blob: reader.bytes(reader.remaining),
      }
    case LIBXL_RECORD.CHECKPOINT_STATE:
      require(body.length === 8, `CHECKPOINT_STATE: ${body.length} bytes are not 8`)
      return { type: 'checkpoint-state', id: reader.u32() }
    default:
      if (type >= RECORD_OPTIONAL) return { type: 'unknown', number: type }
      throw bad(`libxl record type 0x${type.toString(16)} is unknown`, { type })
  }
}

/** Encodes a record of the container. */
export function encodeLibxlRecord(record: LibxlRecord): RawRecord {
  switch (record.type) {
    case 'end': return { type: LIBXL_RECORD.END, body: empty() }
    case 'libxc-context': return { type: LIBXL_RECORD.LIBXC_CONTEXT, body: empty() }
    case 'checkpoint-end': return { type: LIBXL_RECORD.CHECKPOINT_END, body: empty() }
    case 'emulator-xenstore': {
      const text = record.entries.map(([key, value]) => `${key}\0${value}\0`).join('')
      const out = new ByteWriter().u32(record.emulator).u32(record.index).bytes(new TextEncoder().encode(text))
      return { type: LIBXL_RECORD.EMULATOR_XENSTORE_DATA, body: out.finish() }
    }
    case 'emulator-context':
      return {
        type: LIBXL_RECORD.EMULATOR_CONTEXT,
        body: new ByteWriter().u32(record.emulator).u32(record.index).bytes(record.blob).finish(),
      }
    case 'checkpoint-state':
      return { type: LIBXL_RECORD.CHECKPOINT_STATE, body: new ByteWriter(8).u32(record.id).u32(0).finish() }
    case 'unknown': throw new XenError('INVALID_ARGUMENT', 'an unknown record cannot be written')
  }
}
