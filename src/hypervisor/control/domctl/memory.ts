/**
 * Operations of domctl on memory: limits, types of frames, the log of what is written, stubs of hypercalls, and what is kept for
 * translated domains.
 * Reference: xen/common/domctl.c; xen/arch/x86/domctl.c, arch_do_domctl; xen/arch/x86/mm/paging.c, paging_domctl,
 * paging_log_dirty_op; xen/arch/x86/mm/hap/hap.c, hap_domctl; xen/arch/x86/mm/shadow/common.c, shadow_domctl.
 */
import {
  DomctlGetpageframeinfo3, DomctlHvmcontext, DomctlHypercallInit, DomctlMaxMem, DomctlPagingMempool, DomctlShadowOp, ERRNO, PFINFO,
  SHADOW_ENABLE, SHADOW_OP,
} from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import { Scratch } from '../../memory/guest-access.ts'
import { WORK } from '../../time/work-meter.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { answering, silent } from '../binary/control-call.ts'
import { writeHypercallPage } from '../core/hypercall-page.ts'
import { DOMCTL_ARGUMENT, type DomctlCall, type DomctlParts, ofOthers } from './domctl-call.ts'

/** Most frames of one getpageframeinfo3. */
const MOST_FRAMES = 1024
/** Most bytes of a translated domain's context that are taken. */
const MOST_CONTEXT = 1 << 20
const MEGABYTE = 1 << 20
/** LOGDIRTY_FINAL: frames that the hypervisor writes are to be told too. They always are. */
const FINAL = 1

/** max_mem: more pages than 32 bits count are as many as they do. */
function setMaximum({ reservation }: DomctlParts, { domain, view }: DomctlCall): number {
  const pages = Math.floor(DomctlMaxMem.maxMemkb.number(view, DOMCTL_ARGUMENT) / (PAGE_SIZE / 1024))
  return reservation.setMaximum(domain, Math.min(pages, 0xffff_fffe))
}

function frameTypes({ hostFrames, meter }: DomctlParts, call: DomctlCall): number {
  const { domain, view, caller } = call
  const op = DomctlGetpageframeinfo3
  const count = op.num.number(view, DOMCTL_ARGUMENT)
  if (count > MOST_FRAMES) return -ERRNO.E2BIG
  // The list's numbers are as wide as the caller's.
  const { width } = caller.owner.abi
  const bytes = new Scratch(count * (width / 8))
  const address = call.address(op.array, DOMCTL_ARGUMENT)
  if (call.read(address, bytes.bytes) < 0) return -ERRNO.EFAULT
  const list = Uint32Array.from({ length: count }, (_, i) => {
    const at = i * (width / 8)
    const number = width === 64 && bytes.view.getUint32(at + 4, true) !== 0 ? -1 : domain.frameOf(bytes.view.getUint32(at, true))
    return number < 0 ? 0xffff_ffff : number
  })
  const kinds = new Uint8Array(count)
  hostFrames.kinds(domain, list, kinds)
  bytes.bytes.fill(0)
  kinds.forEach((kind, i) => bytes.view.setUint32(i * (width / 8), (kind << PFINFO.LTAB_SHIFT) >>> 0, true))
  meter.charge(count * WORK.look)
  return call.write(address, bytes.bytes)
}

/** PEEK and CLEAN: the bitmap, as far as the caller has room for it. */
function readDirty({ logDirty, meter }: DomctlParts, call: DomctlCall, isClean: boolean): number {
  const { domain, view } = call
  const op = DomctlShadowOp
  if ((op.mode.get(view, DOMCTL_ARGUMENT) & ~FINAL) !== 0) return -ERRNO.EINVAL
  const bitmap = isClean ? logDirty.clean(domain) : logDirty.peek(domain)
  if (typeof bitmap === 'number') return bitmap
  op.faultCount.set(view, DOMCTL_ARGUMENT, 0)
  op.dirtyCount.set(view, DOMCTL_ARGUMENT, bitmap.count)
  meter.charge(domain.totalPages * WORK.look)
  if (call.isNull(op.dirtyBitmap, DOMCTL_ARGUMENT)) return 0
  const pages = op.pages.number(view, DOMCTL_ARGUMENT)
  const words = bitmap.save()
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
  const room = Math.ceil(pages / 8)
  let result = call.write(call.address(op.dirtyBitmap, DOMCTL_ARGUMENT), bytes.subarray(0, room))
  for (let at = bytes.length; result === 0 && at < room; at += PAGE_SIZE) {
    result = call.write(call.address(op.dirtyBitmap, DOMCTL_ARGUMENT) + at, new Uint8Array(Math.min(PAGE_SIZE, room - at)))
    meter.charge(WORK.page)
  }
  return result
}

function shadow(parts: DomctlParts, call: DomctlCall): number {
  const { logDirty } = parts
  const { domain, view } = call
  const op = DomctlShadowOp
  call.answers = true
  if (domain.dying) return 0
  if (call.vcpu(0) === undefined) return -ERRNO.EINVAL
  const isTranslated = domain.guest !== undefined
  switch (op.op.get(view, DOMCTL_ARGUMENT)) {
    case SHADOW_OP.ENABLE: return (op.mode.get(view, DOMCTL_ARGUMENT) & SHADOW_ENABLE.LOG_DIRTY) === 0 ? -ERRNO.EINVAL : logDirty.enable(domain)
    case SHADOW_OP.ENABLE_LOGDIRTY: return logDirty.enable(domain)
    case SHADOW_OP.OFF: return logDirty.disable(domain)
    case SHADOW_OP.CLEAN: return readDirty(parts, call, true)
    case SHADOW_OP.PEEK: return readDirty(parts, call, false)
    case SHADOW_OP.GET_ALLOCATION:
      op.mb.set(view, DOMCTL_ARGUMENT, Math.ceil(domain.tools.pagingBytes / MEGABYTE))
      return 0
    case SHADOW_OP.SET_ALLOCATION:
      if (isTranslated) domain.tools.pagingBytes = op.mb.get(view, DOMCTL_ARGUMENT) * MEGABYTE
      else op.mb.set(view, DOMCTL_ARGUMENT, 0)
      return 0
    default: return -ERRNO.EINVAL
  }
}

/** gethvmcontext: all records; without a buffer, how many bytes they take. */
function getContext(call: DomctlCall): number {
  const { domain, view } = call
  const op = DomctlHvmcontext
  if (domain.guest === undefined) return -ERRNO.EINVAL
  const bytes = domain.guest.context()
  const room = op.bytes.get(view, DOMCTL_ARGUMENT)
  call.answers = true
  if (call.isNull(op.buffer, DOMCTL_ARGUMENT)) {
    op.bytes.set(view, DOMCTL_ARGUMENT, bytes.length)
    return 0
  }
  if (room < bytes.length) return -ERRNO.ENOSPC
  op.bytes.set(view, DOMCTL_ARGUMENT, bytes.length)
  return call.write(call.address(op.buffer, DOMCTL_ARGUMENT), bytes)
}

function setContext(call: DomctlCall): number {
  const { domain, view } = call
  const size = DomctlHvmcontext.bytes.get(view, DOMCTL_ARGUMENT)
  if (domain.guest === undefined) return -ERRNO.EINVAL
  if (size > MOST_CONTEXT) return -ERRNO.ENOMEM
  const bytes = new Uint8Array(size)
  return call.read(call.address(DomctlHvmcontext.buffer, DOMCTL_ARGUMENT), bytes) || domain.guest.setContext(bytes)
}

/** Memory for the physical map of a translated domain. */
function mempool({ domain, view }: DomctlCall): number {
  const bytes = DomctlPagingMempool.mempoolBytes.number(view, DOMCTL_ARGUMENT)
  if (domain.guest === undefined) return -ERRNO.EOPNOTSUPP
  if (bytes % PAGE_SIZE !== 0 || bytes / PAGE_SIZE > 0xffff_ffff) return -ERRNO.EINVAL
  domain.tools.pagingBytes = bytes
  return 0
}

/** The operations, by the names of their numbers. */
export function memoryOperations(parts: DomctlParts) {
  const wish = partial('it is told again; physical maps take memory of the host\'s as they need it')
  return {
    max_mem: silent((call: DomctlCall) => setMaximum(parts, call)),
    getpageframeinfo3: silent((call: DomctlCall) => frameTypes(parts, call)),
    shadow_op: silent(ofOthers((call) => shadow(parts, call)), partial('log-dirty is all; page tables of guests are never shadowed: ENABLE_TEST is EINVAL')),
    hypercall_init: silent(({ domain, view }: DomctlCall) => {
      const frame = domain.frameOf(DomctlHypercallInit.gmfn.number(view, DOMCTL_ARGUMENT))
      return writeHypercallPage(parts, { domid: domain.id, frame }, domain.kind.fillHypercallPage)
    }),
    gethvmcontext: silent(ofOthers(getContext)),
    sethvmcontext: silent(ofOthers(setContext)),
    get_paging_mempool_size: answering(({ domain, view }: DomctlCall) => {
      if (domain.guest === undefined) return -ERRNO.EOPNOTSUPP
      DomctlPagingMempool.mempoolBytes.setNumber(view, DOMCTL_ARGUMENT, domain.tools.pagingBytes)
      return 0
    }, wish),
    set_paging_mempool_size: silent(mempool, wish),
  }
}
