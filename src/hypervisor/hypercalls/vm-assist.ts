/**
 * vm_assist: switches that change how the hypervisor treats a domain.
 * Reference: public/xen.h, VMASST_*; xen/common/domain.c, vm_assist.
 */
import { ERRNO, VMASST_CMD, VMASST_TYPE } from '../../abi/index.ts'
import type { Domain } from '../domains/domain.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'

/** vm_assist types that a 64-bit PV guest may switch. */
const ASSISTS: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  VMASST_TYPE['4gb_segments'], VMASST_TYPE['4gb_segments_notify'], VMASST_TYPE.writable_pagetables,
  VMASST_TYPE.pae_extended_cr3, VMASST_TYPE.architectural_iopl, VMASST_TYPE.runstate_update_flag,
  VMASST_TYPE.m2p_strict,
])

/** Switches one type of a domain; false when there is no such type. */
export function setAssist(domain: Domain, type: number, enabled: boolean): boolean {
  if (!ASSISTS.has(type)) return false
  if (type === VMASST_TYPE.m2p_strict) domain.hidesMachineToPhys = enabled
  else if (enabled) domain.assists |= 1 << type
  else domain.assists &= ~(1 << type)
  return true
}

/** vm_assist(command, type). */
export const vmAssist: HypercallHandler = (caller, args) => {
  const command = args.u32(0)
  const type = args.u32(1)
  if (type >= 64 || !ASSISTS.has(type)) return -ERRNO.EINVAL
  if (command !== VMASST_CMD.enable && command !== VMASST_CMD.disable) return -ERRNO.ENOSYS
  setAssist(caller.owner, type, command === VMASST_CMD.enable)
  return 0
}
