/**
 * How Xen prints a crash on its console: registers, the walk to a faulting address, the guest's stack. The layout of the
 * lines is Xen's, so that scripts which read its logs read these; what is said beyond them is in the toolstack.
 * Reference: xen/arch/x86/x86_64/traps.c, _show_registers, show_page_walk; xen/arch/x86/traps.c, show_guest_stack;
 * xen/arch/x86/pv/traps.c, pv_inject_event (4.17).
 */
import { exceptionMnemonic, hasErrorCode, PAGE_FAULT, VECTOR } from '../../x86/index.ts'
import type { CrashedStack, CrashReport, CrashState, TrapNote } from '../domains/crash-report.ts'
import type { GuestContext } from '../domains/guest-vcpu.ts'
import { XEN_VERSION } from '../identity.ts'
import { isGuestAddress } from '../memory/guest-address.ts'

/** Words that Xen shows of a stack, and of them in a line. */
const SHOWN_WORDS = 80
const WORDS_PER_LINE = 4
/** X86_EVENT_NO_EC. */
const NO_ERROR_CODE = 0xffff_ffff

const hex = (value: bigint, digits = 16): string => BigInt.asUintN(64, value).toString(16).padStart(digits, '0')
const selector = (value: number): string => value.toString(16).padStart(4, '0')
const address = (value: number): string => hex(BigInt(Number.isInteger(value) ? value : 0))

/** The walk to the address of a page fault; nothing for other exceptions. */
export function walkLines(note: TrapNote, context: Pick<GuestContext, 'walk'>): string[] {
  if (note.vector !== VECTOR.PF) return []
  const steps = context.walk(note.address).map(({ level, index, entry, pfn }) =>
    ` L${level}[0x${index.toString(16).padStart(3, '0')}] = ${hex(entry)} ${hex(pfn)}`)
  return [`Pagetable walk from ${address(note.address)}:`, ...steps]
}

function registerLines(state: CrashState, { where, kind }: { readonly where: string; readonly kind: string }): string[] {
  const r = state.registers
  const events = state.eventsMasked === undefined ? '' : `EM: ${state.eventsMasked ? 1 : 0}   `
  const row = (...pairs: readonly (readonly [string, bigint])[]): string =>
    pairs.map(([name, value]) => `${`${name}:`.padEnd(4)} ${hex(value)}`).join('   ')
  return [
    `RIP:    ${selector(r.cs)}:[<${hex(r.rip)}>]`,
    `RFLAGS: ${hex(r.rflags)}   ${events}CONTEXT: ${kind} guest (${where})`,
    row(['rax', r.rax], ['rbx', r.rbx], ['rcx', r.rcx]),
    row(['rdx', r.rdx], ['rsi', r.rsi], ['rdi', r.rdi]),
    row(['rbp', r.rbp], ['rsp', r.rsp], ['r8', r.r8]),
    row(['r9', r.r9], ['r10', r.r10], ['r11', r.r11]),
    row(['r12', r.r12], ['r13', r.r13], ['r14', r.r14]),
    row(['r15', r.r15], ['cr0', state.cr0], ['cr4', state.cr4]),
    row(['cr3', state.cr3], ['cr2', state.cr2]),
    row(['fsb', state.fsBase], ['gsb', state.gsBase], ['gss', state.gsShadow]),
    `ds: ${selector(r.ds)}   es: ${selector(r.es)}   fs: ${selector(r.fs)}   gs: ${selector(r.gs)}   ss: ${selector(r.ss)}   cs: ${selector(r.cs)}`,
  ]
}

function stackLines(stack: CrashedStack): string[] {
  const lines = [`Guest stack trace from rsp=${address(stack.address)}:`]
  if (!isGuestAddress(stack.address)) return [...lines, '  Guest-inaccessible memory.']
  const shown = stack.words.slice(0, SHOWN_WORDS)
  for (let i = 0; i < shown.length; i += WORDS_PER_LINE) {
    lines.push(`   ${shown.slice(i, i + WORDS_PER_LINE).map((value) => hex(value)).join(' ')}`)
  }
  if (shown.length < SHOWN_WORDS && stack.isCut) lines.push('    Fault while accessing guest memory.')
  return lines
}

/** The error code as the guest would have seen it: to the processor both of its modes are user mode. */
const errorCodeOf = ({ vector, errorCode, fromUser }: TrapNote): number =>
  vector !== VECTOR.PF ? errorCode : fromUser ? errorCode | PAGE_FAULT.USER : errorCode & ~PAGE_FAULT.USER

/** Why, in the first line. */
function causeLines({ origin, exception, reason, domid, vcpu }: CrashReport, walk: readonly string[]): string[] {
  if (origin !== 'hypervisor') return []
  if (exception === undefined) return [`domain_crash called: ${reason}`]
  const { vector } = exception
  const code = hasErrorCode(vector) && exception.errorCode >= 0 ? errorCodeOf(exception) : NO_ERROR_CODE
  const mnemonic = exceptionMnemonic(vector)
  return [
    `d${domid}v${vcpu} Unhandled: vec ${vector}, ${mnemonic}[${code.toString(16).padStart(4, '0')}]`, ...walk,
    'domain_crash_sync called from entry.S',
  ]
}

/**
 * Everything that Xen prints; `cpu` is the physical one, `walk` the way to the address of a page fault, `kind` the name of
 * the domain's kind.
 */
export function crashLines(
  report: CrashReport,
  { cpu, walk, kind }: { readonly cpu: number; readonly walk: readonly string[]; readonly kind: string },
): string[] {
  const { domid, vcpu, origin, state } = report
  const first = origin === 'outside' ? `Domain ${domid} reported crashed by domain 0 on cpu#${cpu}:`
    : origin === 'guest' ? `Domain ${domid} (vcpu#${vcpu}) reported its own crash on cpu#${cpu}:`
    : `Domain ${domid} (vcpu#${vcpu}) crashed on cpu#${cpu}:`
  const lines = [...causeLines(report, walk), first]
  if (state === undefined) return lines
  return [
    ...lines, `----[ Xen-${XEN_VERSION.major}.${XEN_VERSION.minor}${XEN_VERSION.extra}  x86_64  debug=n  Not tainted ]----`,
    `CPU:    ${cpu}`, ...registerLines(state, { where: `d${domid}v${vcpu}`, kind }), ...stackLines(state.stack),
  ]
}
