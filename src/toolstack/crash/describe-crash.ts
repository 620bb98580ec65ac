/**
 * From the hypervisor's report of a crash to what its user is told: names of exceptions and functions, which feature an
 * instruction lacks, code in words.
 */
import { COMPAT_FLAT, FLAT } from '../../abi/index.ts'
import type { CrashedCode, CrashReport } from '../../hypervisor/index.ts'
import { Disassembler, type Disassembled, type ProcessorLevel } from '../../machine/index.ts'
import { thrownText } from '../../util/index.ts'
import { VECTOR, describeException, exceptionName } from '../../x86/index.ts'
import { crashText } from './crash-text.ts'
import type { CrashCall, CrashException, CrashInstruction, DiskError, DomainCrash } from './domain-crash.ts'
import { symbolText, type SymbolLookup } from '../symbols/symbol-table.ts'

/** Instructions that are shown from the place of a crash on. */
const SHOWN_INSTRUCTIONS = 5
/** Return addresses that are shown. */
const SHOWN_CALLS = 32
/** The longest instruction: one that is cut short by the end of what was kept is not shown. */
const LONGEST_INSTRUCTION = 15

/** What the toolstack knows beside the report. */
export interface CrashFacts {
  readonly name: string
  /** What the host's processors are. */
  readonly level: ProcessorLevel
  readonly symbols: SymbolLookup | undefined
  /** A guest in TypeScript threw `cause`, which may be undefined as well. */
  readonly threw: boolean
  readonly cause: unknown
  readonly diskErrors: readonly DiskError[]
}

const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(Number.isInteger(address) ? address : 0))

const symbolAt = (symbols: SymbolLookup | undefined, address: number): string | undefined => {
  const place = symbols?.find(address)
  return place === undefined ? undefined : symbolText(place)
}

function decode(code: CrashedCode | undefined, cs: number, level: ProcessorLevel): readonly Disassembled[] {
  if (code === undefined) return []
  const shown: Disassembled[] = []
  const codeSize = cs === FLAT.USER_CS32 || cs === COMPAT_FLAT.KERNEL_CS || cs === COMPAT_FLAT.USER_CS ? 32 : 64
  const disassembler = new Disassembler(level)
  for (let offset = 0; offset < code.bytes.length && shown.length < SHOWN_INSTRUCTIONS;) {
    if (shown.length > 0 && code.bytes.length - offset < LONGEST_INSTRUCTION) break
    const one = disassembler.at(code.bytes, offset, { address: code.address + offset, codeSize })
    shown.push(one)
    offset += one.length
  }
  return shown
}

const instructionsOf = (code: CrashedCode | undefined, decoded: readonly Disassembled[]): CrashInstruction[] =>
  decoded.map(({ address, length, text }) => ({
    address: unsigned(address), text,
    bytes: code!.bytes.slice(address - code!.address, address - code!.address + length),
  }))

function exceptionOf({ exception, state }: CrashReport, { symbols, level }: CrashFacts): CrashException | undefined {
  if (exception === undefined) return undefined
  const { vector, errorCode, address, rip, fromUser, code } = exception
  const decoded = decode(code, state?.registers.cs ?? 0, level)
  const lacking = vector === VECTOR.UD ? decoded[0]?.lacking : undefined
  const opcode = vector === VECTOR.UD && decoded[0] !== undefined ? ` \`${decoded[0].text}\`` : ''
  const missing = lacking === undefined ? '' : `: ${lacking}: not offered by ${level}`
  return {
    vector, name: exceptionName(vector), errorCode, address: unsigned(address), rip: unsigned(rip), fromUser, lacking,
    symbol: symbolAt(symbols, rip), description: `${describeException(exception)}${opcode}${missing}`,
    code: instructionsOf(code, decoded),
  }
}

function callsOf({ state }: CrashReport, symbols: SymbolLookup | undefined): CrashCall[] {
  if (state === undefined || symbols === undefined) return []
  const calls: CrashCall[] = []
  for (const [index, word] of state.stack.words.entries()) {
    if (calls.length === SHOWN_CALLS) break
    // A return address may lie right behind the end of a function whose last instruction is a call.
    const place = symbols.find(Number(BigInt.asIntN(64, word)) - 1)
    if (place === undefined) continue
    const symbol = symbolText({ ...place, offset: place.offset + 1 })
    calls.push({ stack: unsigned(state.stack.address + index * 8), address: word, symbol })
  }
  return calls
}

function messageOf(report: CrashReport, exception: CrashException | undefined, facts: CrashFacts): string {
  if (facts.threw) return `its program threw ${thrownText(facts.cause)}`
  const place = exception === undefined ? '' : ` at ${exception.symbol ?? `0x${exception.rip.toString(16)}`}`
  if (report.origin !== 'hypervisor') {
    const last = exception === undefined ? '' : `; the last exception that it took was ${exception.description}${place}`
    return `${report.reason}${last}`
  }
  if (exception === undefined) return report.reason
  // The report's own words name the exception first, then why the guest could not take it.
  const why = report.reason.split('; ')[1]
  return `${exception.description}${place}${why === undefined ? '' : `; ${why}`}`
}

/** Gives a report its names. */
export function describeCrash(report: CrashReport, facts: CrashFacts): DomainCrash {
  const { state } = report
  const exception = exceptionOf(report, facts)
  const rip = state === undefined ? undefined : Number(BigInt.asIntN(64, state.registers.rip))
  const crash = {
    id: report.domid, name: facts.name, vcpu: report.vcpu, time: report.time, origin: report.origin,
    message: messageOf(report, exception, facts), exception, state, cause: facts.cause,
    diskErrors: facts.diskErrors,
    symbol: rip === undefined ? undefined : symbolAt(facts.symbols, rip),
    code: instructionsOf(state?.code, decode(state?.code, state?.registers.cs ?? 0, facts.level)),
    calls: callsOf(report, facts.symbols),
  }
  return { ...crash, text: crashText(crash) }
}
