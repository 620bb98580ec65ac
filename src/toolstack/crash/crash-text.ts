/** A crash in lines, for people: what happened, registers, code, calls. Xen's own form is the hypervisor's console's. */
import type { CrashState } from '../../hypervisor/index.ts'
import { thrownStack, thrownText } from '../../util/index.ts'
import type { CrashInstruction, DomainCrash } from './domain-crash.ts'

/** Words of the stack that are shown raw where there are no symbols. */
const SHOWN_WORDS = 16
const WORDS_PER_LINE = 4
/** Lines of the stack of an error that a guest in TypeScript threw. */
const SHOWN_FRAMES = 20

const hex = (value: bigint): string => value.toString(16).padStart(16, '0')

const GENERAL = [
  ['rax', 'rbx', 'rcx', 'rdx'], ['rsi', 'rdi', 'rbp', 'rsp'], ['r8', 'r9', 'r10', 'r11'], ['r12', 'r13', 'r14', 'r15'],
] as const

const registerLines = ({ registers, cr2, cr3 }: CrashState): string[] => [
  ...GENERAL.map((row) => `  ${row.map((name) => `${name.padEnd(3)} ${hex(registers[name])}`).join('  ')}`),
  `  rip ${hex(registers.rip)}  rflags ${registers.rflags.toString(16)}  cs ${registers.cs.toString(16)}  ss ${registers.ss.toString(16)}` +
    `  cr2 ${hex(cr2)}  cr3 ${hex(cr3)}`,
]

const codeLines = (code: readonly CrashInstruction[]): string[] => code.map(({ address, bytes, text }) => {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
  return `  ${hex(address)}:  ${digits.padEnd(32)} ${text}`
})

function stackLines({ state, calls }: Pick<DomainCrash, 'state' | 'calls'>): string[] {
  if (state === undefined) return []
  if (calls.length > 0) {
    return ['calls on the stack (the latest first):', ...calls.map(({ address, symbol }) => `  ${hex(address)} ${symbol}`)]
  }
  const words = state.stack.words.slice(0, SHOWN_WORDS)
  if (words.length === 0) return [`the stack at ${hex(state.registers.rsp)} cannot be read`]
  const lines = [`stack from ${hex(state.registers.rsp)}:`]
  for (let i = 0; i < words.length; i += WORDS_PER_LINE) {
    lines.push(`  ${words.slice(i, i + WORDS_PER_LINE).map(hex).join(' ')}`)
  }
  return lines
}

const causeLines = (cause: unknown): string[] =>
  (thrownStack(cause)?.split('\n') ?? []).slice(0, SHOWN_FRAMES + 1).map((line) => line.slice(0, 300))

/** All that is known, in lines. */
export function crashText(crash: Omit<DomainCrash, 'text'>): string {
  const { id, name, vcpu, message, exception, state, symbol, code } = crash
  const elsewhere = exception !== undefined && state !== undefined && exception.rip !== state.registers.rip
  return [
    `domain ${id} (${name}) crashed on vCPU ${vcpu}: ${message}`,
    ...causeLines(crash.cause),
    ...crash.diskErrors.map(({ disk, error }) => `the contents of disk ${disk} have failed: ${thrownText(error).slice(0, 300)}`),
    ...(elsewhere && exception.code.length > 0
      ? [`code of the exception at ${exception.symbol ?? hex(exception.rip)}:`, ...codeLines(exception.code)] : []),
    ...(state === undefined ? [] : ['registers:', ...registerLines(state)]),
    ...(code.length === 0 ? [] : [`code at ${symbol ?? hex(state!.registers.rip)}:`, ...codeLines(code)]),
    ...stackLines(crash),
  ].join('\n')
}
