/**
 * Numbers that carry their kind, so that mixing a frame number with a grant reference is a compile error.
 * They cost nothing at run time. Reference: xen/include/xen/mm-frame.h, which does the same for C.
 */
import { shown } from './duration.ts'
import { XenError } from './errors.ts'

declare const kind: unique symbol

/** A number of one kind. Made by the checked constructor of its kind, or read from an overlay. */
export type Branded<Kind extends string> = number & { readonly [kind]: Kind }

/** Domain identifier, 0 to 0x7fef; see DOMID in abi for the reserved ones. */
export type DomId = Branded<'DomId'>
/** Virtual CPU number inside its domain. */
export type VcpuId = Branded<'VcpuId'>
/** Machine frame number: a 4 KiB frame of the host; its byte offset in host memory is `mfn * 4096`. */
export type Mfn = Branded<'Mfn'>
/** Guest frame number: what the guest names a frame by at the ABI (for a PV guest the same number as the mfn). */
export type Gfn = Branded<'Gfn'>
/** Pseudo-physical frame number: index into a PV guest's p2m, 0 to its maximum. */
export type Pfn = Branded<'Pfn'>
/** Grant reference: index into the granting domain's grant table. */
export type GrantRef = Branded<'GrantRef'>
/** Handle of a mapped grant, given by the hypervisor to the mapping domain. */
export type GrantHandle = Branded<'GrantHandle'>
/** Event channel port of one domain; 0 is never valid. */
export type EventPort = Branded<'EventPort'>

/** Makes the checked constructor of one kind: whole numbers from 0 to `limit` pass, others throw INVALID_ARGUMENT. */
function checked<T extends number>(name: string, limit: number): (value: number) => T {
  return (value) => {
    if (!Number.isInteger(value) || value < 0 || value > limit) {
      throw new XenError('INVALID_ARGUMENT', `${name} must be a whole number from 0 to ${limit}, got ${shown(value)}`, {
        details: { name, value, limit },
      })
    }
    return value as T
  }
}

/** Largest frame number: host memory is one WebAssembly memory of at most 4 GiB, so 2^20 frames of 4 KiB. */
export const MAX_FRAME = 0xfffff

/** Checked domain identifier (16 bits at the ABI, reserved identifiers included). */
export const domId = /* @__PURE__ */ checked<DomId>('domid', 0xffff)
/** Checked virtual CPU number (Xen: HVM_MAX_VCPUS and MAX_VIRT_CPUS both lie below 8192). */
export const vcpuId = /* @__PURE__ */ checked<VcpuId>('vcpu', 8191)
/** Checked machine frame number. */
export const mfn = /* @__PURE__ */ checked<Mfn>('mfn', MAX_FRAME)
/** Checked guest frame number. */
export const gfn = /* @__PURE__ */ checked<Gfn>('gfn', 0xffffffff)
/** Checked pseudo-physical frame number. */
export const pfn = /* @__PURE__ */ checked<Pfn>('pfn', 0xffffffff)
/** Checked grant reference. */
export const grantRef = /* @__PURE__ */ checked<GrantRef>('grant reference', 0xffffffff)
/** Checked grant handle. */
export const grantHandle = /* @__PURE__ */ checked<GrantHandle>('grant handle', 0xffffffff)
/** Checked event channel port. */
export const eventPort = /* @__PURE__ */ checked<EventPort>('event port', 0xffffffff)
