/**
 * The hypercalls of Xen's public headers and their sub-operations, by the prefixes of their names. What has such a prefix
 * and is no operation is left out by a rule with a name, so that a new name in the headers is an operation until a rule
 * says otherwise.
 *
 * Reference: Debian package libxen-dev.
 */
import { execFileSync } from 'node:child_process'

/** Operations of one prefix: number by name. */
export type OperationNumbers = Readonly<Record<string, number>>

const HEADERS = [
  'xen', 'memory', 'sched', 'event_channel', 'grant_table', 'vcpu', 'version', 'physdev', 'nmi', 'callback', 'domctl', 'sysctl',
  'platform', 'hvm/hvm_op', 'hvm/dm_op', 'pmu', 'kexec', 'xenoprof', 'tmem', 'hypfs', 'argo', 'xsm/flask_op', 'arch-x86/xen-mca',
]

/** Prefix of the hypercalls themselves. */
export const HYPERCALL_PREFIX = '__HYPERVISOR_'

/** Names that are no operations, and why. Names in capitals are arguments, flags and limits where operations are not. */
const RULES: Readonly<Record<string, readonly { readonly why: string; readonly names: RegExp }[]>> = {
  [HYPERCALL_PREFIX]: [
    { why: 'numbers that have no meaning on x86', names: /^arch_[1-7]$/ },
    { why: 'where the hypervisor lies', names: /^VIRT_/ },
  ],
  MMU_: [], MMUEXT_: [], SEGBASE_: [], FLASK_: [], EVTCHNOP_: [], SCHEDOP_: [], VCPUOP_: [], XENVER_: [], CONSOLEIO_: [], XENNMI_: [],
  CALLBACKOP_: [], CALLBACKTYPE_: [], VMASST_CMD_: [], VMASST_TYPE_: [], GNTTABOP_: [], KEXEC_CMD_: [], XEN_HYPFS_OP_: [], XEN_ARGO_OP_: [],
  XENMEM_: [
    { why: 'operations of access_op, paging_op and sharing_op', names: /^(access|paging|sharing)_op_/ },
    { why: 'resources of acquire_resource', names: /^resource_/ },
    { why: 'arguments', names: /^[A-Z]/ },
  ],
  PHYSDEVOP_: [{ why: 'arguments', names: /^[A-Z]/ }],
  HVMOP_: [{ why: 'operations of altp2m', names: /^altp2m_/ }, { why: 'arguments', names: /^[A-Z]/ }],
  XENPF_: [{ why: 'arguments', names: /^[A-Z]/ }],
  XENPMU_: [{ why: 'arguments', names: /^[A-Z]/ }],
  XENOPROF_: [{ why: 'the highest number once more', names: /^last_op$/ }, { why: 'arguments', names: /^[A-Z]/ }],
  TMEM_: [{ why: 'arguments', names: /^(CLIENT|POOL|SPEC)_/ }],
  XEN_DMOP_: [{ why: 'arguments', names: /^[A-Z]/ }],
  XEN_DOMCTL_: [
    { why: 'operations of vmtrace_op', names: /^vmtrace_(?!op$)/ },
    { why: 'operations of others, arguments', names: /^[A-Z]/ },
  ],
  XEN_SYSCTL_: [
    { why: 'which featureset, which policy', names: /^cpu_(featureset|policy)_/ },
    { why: 'operations of pm_op', names: /^pm_op_/ },
    { why: 'operations of others, arguments', names: /^[A-Z]/ },
  ],
  XEN_MC_: [{ why: 'arguments', names: /^[A-Z]/ }],
}

/** The prefixes that operations have. */
export const PREFIXES: readonly string[] = Object.keys(RULES)

/** A whole number as headers write it; undefined for flags in parentheses, messages, functions and second names. */
const numberOf = (text: string): number | undefined => (/^(0x[0-9a-fA-F]+|\d+)$/.test(text) ? Number(text) : undefined)

/** Reads a preprocessor's list of macros. */
export function operationsOf(macros: string): Record<string, OperationNumbers> {
  const defined = [...macros.matchAll(/^#define (\w+) (.+)$/gm)].map(([, name, text]) => ({ name: name!, number: numberOf(text!) }))
  return Object.fromEntries(PREFIXES.map((prefix) => {
    const own = defined.filter(({ name }) => name.startsWith(prefix)).map(({ name, number }) => ({ name: name.slice(prefix.length), number }))
    const operations = own.filter(({ name, number }) => number !== undefined && !RULES[prefix]!.some(({ names }) => names.test(name)))
    return [prefix, Object.fromEntries(operations.map(({ name, number }) => [name, number!] as const).sort((a, b) => a[1] - b[1]))]
  }))
}

/** Rules that leave nothing out of a preprocessor's list of macros: they stand for what is no longer there. */
export function idleRules(macros: string): string[] {
  const names = [...macros.matchAll(/^#define (\w+) /gm)].map(([, name]) => name!)
  return Object.entries(RULES).flatMap(([prefix, rules]) => rules
    .filter((rule) => !names.some((name) => name.startsWith(prefix) && rule.names.test(name.slice(prefix.length))))
    .map(({ why }) => `${prefix}: ${why}`))
}

/** Asks the preprocessor for all macros of the headers. */
export function askMacros(): string {
  const program = ['#include <stdint.h>', ...HEADERS.map((header) => `#include <xen/${header}.h>`)].join('\n')
  return execFileSync('gcc', ['-E', '-dM', '-D__XEN_TOOLS__', '-'], { input: program, encoding: 'utf8' })
}
