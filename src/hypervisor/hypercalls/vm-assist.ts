/**
 * vm_assist: switches that change how the hypervisor treats a domain.
 * Reference: public/xen.h, VMASST_*; xen/common/domain.c, vm_assist.
 */
import { ERRNO, type GuestAbi, VMASST_CMD, VMASST_TYPE } from '../../abi/index.ts'
import type { Domain } from '../domains/domain.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, byNumber, listed } from '../domains/hypercall-rows.ts'

/** vm_assist types that a PV guest may switch: those that its word has bits for. */
const TYPES: Operations<typeof VMASST_TYPE, { readonly support: Support }> = {
  '4gb_segments': { support: FULL }, '4gb_segments_notify': { support: FULL }, writable_pagetables: { support: FULL },
  pae_extended_cr3: { support: FULL }, architectural_iopl: { support: FULL }, runstate_update_flag: { support: FULL },
  m2p_strict: { support: FULL },
}
const KNOWN = /* @__PURE__ */ byNumber(VMASST_TYPE, TYPES)

/** Switches one type of a domain; false when there is no such type. */
export function setAssist(domain: Domain, type: number, enabled: boolean): boolean {
  if (type >= KNOWN.length || KNOWN[type] === undefined) return false
  if (type === VMASST_TYPE.m2p_strict) domain.hidesMachineToPhys = enabled
  else if (enabled) domain.assists |= 1 << type
  else domain.assists &= ~(1 << type)
  return true
}

/** A command: the type, the second argument, is looked at before it. */
const command = (enabled: boolean): Operation => ({
  support: FULL,
  run: (caller, args) => (setAssist(caller.owner, args.u32(1), enabled) ? 0 : -ERRNO.EINVAL),
})

const COMMANDS: Operations<typeof VMASST_CMD, Operation> = {
  enable: /* @__PURE__ */ command(true), disable: /* @__PURE__ */ command(false),
}

/** What a kind of guest that may not switch a type is told. */
const NOT_OF_KIND: Support = { level: 'refused', error: 'EINVAL', privileged: 'EINVAL', why: 'it is for PV guests' }

/** Makes the row of vm_assist(command, type) for callers of one ABI, who may switch these types. */
export function vmAssist({ width }: GuestAbi, allowed: readonly number[] = Object.values(VMASST_TYPE)): HypercallRow {
  const commands = byFirstArgument(VMASST_CMD, COMMANDS)
  return {
    name: 'vm_assist', source: 'public/xen.h, VMASST_*; vm_assist',
    handler: (caller, args) => {
      const type = args.u32(1)
      return type < width && allowed.includes(type) ? commands(caller, args) : -ERRNO.EINVAL
    },
    operations: [listed('VMASST_CMD_', VMASST_CMD, COMMANDS), listed('VMASST_TYPE_', VMASST_TYPE, typesOf(allowed))],
  }
}

/** What is told of the types where only some may be switched. */
const typesOf = (allowed: readonly number[]): typeof TYPES => Object.fromEntries(Object.entries(TYPES).map(([name, row]) =>
  [name, allowed.includes(VMASST_TYPE[name as keyof typeof VMASST_TYPE]) ? row : { support: NOT_OF_KIND }])) as unknown as typeof TYPES
