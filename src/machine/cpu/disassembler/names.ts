/**
 * What assemblers call an instruction where that is not the name of its row: AT&T's own words, and names that follow
 * the operands' size. The rows stay the only list of instructions; here stands only what differs.
 * Reference: GNU as manual, "i386-Dependent"; Intel SDM volume 2.
 */
import { CONDITIONS } from '../../../x86/index.ts'
import type { Instruction } from '../decode/decoder.ts'

type Sizes = Readonly<Record<16 | 32 | 64, string>>

/** Names by operand size. */
const BY_SIZE: Readonly<Record<string, Sizes>> = {
  cbw: { 16: 'cbtw', 32: 'cwtl', 64: 'cltq' }, cwd: { 16: 'cwtd', 32: 'cltd', 64: 'cqto' },
  iret: { 16: 'iretw', 32: 'iret', 64: 'iretq' }, retf: { 16: 'lretw', 32: 'lret', 64: 'lretq' },
  sysret: { 16: 'sysretl', 32: 'sysretl', 64: 'sysretq' }, sysexit: { 16: 'sysexitl', 32: 'sysexitl', 64: 'sysexitq' },
}

/** Rows that have another name with 64-bit operands. */
const WITH_64: Readonly<Record<string, string>> = {
  cmpxchg8b: 'cmpxchg16b', fxsave: 'fxsave64', fxrstor: 'fxrstor64', xsave: 'xsave64', xrstor: 'xrstor64',
  xsaveopt: 'xsaveopt64', xsavec: 'xsavec64', xsaves: 'xsaves64', xrstors: 'xrstors64', movd: 'movq', pinsrd: 'pinsrq',
  pextrd: 'pextrq', vmovd: 'vmovq', vpinsrd: 'vpinsrq', vpextrd: 'vpextrq',
  vpcmpestrm: 'vpcmpestrmq', vpcmpestri: 'vpcmpestriq', rdssp: 'rdsspq', incssp: 'incsspq',
}

const OTHERS: Readonly<Record<string, string>> = {
  movcr: 'mov', movdr: 'mov', rdssp: 'rdsspd', incssp: 'incsspd',
  callf: 'lcall', jmpf: 'ljmp', wait: 'fwait', fneni: 'fneni(8087 only)', fndisi: 'fndisi(8087 only)',
  fnsetpm: 'fnsetpm(287 only)',
}

/** Comparisons that CMPPS and its kin name by their immediate: eight, with VEX all. */
export const COMPARISON_NAMES = [
  'eq', 'lt', 'le', 'unord', 'neq', 'nlt', 'nle', 'ord', 'eq_uq', 'nge', 'ngt', 'false', 'neq_oq', 'ge', 'gt', 'true', 'eq_os', 'lt_oq',
  'le_oq', 'unord_s', 'neq_us', 'nlt_uq', 'nle_uq', 'ord_s', 'eq_us', 'nge_uq', 'ngt_uq', 'false_os', 'neq_os', 'ge_oq', 'gt_oq', 'true_us',
] as const
/** Which halves PCLMULQDQ multiplies, by its immediate. */
export const CARRYLESS: Readonly<Record<number, string>> = { 0: 'lqlq', 1: 'hqlq', 16: 'lqhq', 17: 'hqhq' }

/** The name without any suffix for the operands' size. */
export function baseName(i: Instruction): string {
  const name = i.row.alias ?? i.row.name
  if (name.endsWith('CC')) return name.slice(0, -2) + CONDITIONS[i.opcode & 15]!
  const bySize = BY_SIZE[name]?.[i.operandSize]
  if (bySize !== undefined) return bySize
  if (i.operandSize === 64 && WITH_64[name] !== undefined) return WITH_64[name]!
  if (name === 'jcxz') return i.addressSize === 64 ? 'jrcxz' : i.addressSize === 32 ? 'jecxz' : 'jcxz'
  return OTHERS[name] ?? name
}
