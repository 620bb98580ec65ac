/**
 * A domain's crash as its user is told of it: the hypervisor's report with names. What happened and where, which feature
 * an instruction lacks, code in words, functions on the stack, and the error of a guest in TypeScript as cause.
 */
import { FLAT } from '../../abi/index.ts'
import type { CrashedCode, CrashReport } from '../../hypervisor/index.ts'
import { OFFERED_LEVEL, disassembleAll, type Disassembled } from '../../machine/index.ts'
import { thrownText, XenError, type XenErrorDetails } from '../../util/index.ts'
import { VECTOR, describeException, exceptionName } from '../../x86/index.ts'
import { crashText } from './crash-text.ts'
import { symbolText, type SymbolTable } from './symbols.ts'

/** Instructions that are shown from the place of a crash on. */
const SHOWN_INSTRUCTIONS = 5
/** Return addresses that are shown. */
const SHOWN_CALLS = 32
/** The longest instruction: one that is cut short by the end of what was kept is not shown. */
const LONGEST_INSTRUCTION = 15

/** One instruction near the place of a crash. */
export interface CrashInstruction {
  readonly address: bigint
  readonly bytes: Uint8Array
  /** As objdump writes it. */
  readonly text: string
}

/** A place on the stack whose word points into a function: most are return addresses. */
export interface CrashCall {
  /** Where the word stands. */
  readonly stack: bigint
  readonly address: bigint
  /** `function+0x12/0x40`. */
  readonly symbol: string
}

/** An exception by name. */
export interface CrashException {
  readonly vector: number
  /** `page fault`, `invalid opcode`, ... */
  readonly name: string
  readonly errorCode: number
  /** What a page fault was about. */
  readonly address: bigint
  /** Where it happened. */
  readonly rip: bigint
  readonly symbol: string | undefined
  readonly fromUser: boolean
  /** `page fault: read of 0x0 from user mode`, `invalid opcode ...: AVX: not offered by x86-64-v2`. */
  readonly description: string
  /** The feature that the instruction needs and this processor has not: `AVX`. */
  readonly lacking: string | undefined
  /** Code from there on. */
  readonly code: readonly CrashInstruction[]
}

/** Everything about a domain's crash. */
export interface DomainCrash {
  readonly id: number
  readonly name: string
  readonly vcpu: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** The hypervisor ended it for what it did, the guest itself called, or somebody else ended it as crashed. */
  readonly origin: CrashReport['origin']
  /** In one line: what happened, and where. */
  readonly message: string
  /** All of it, in lines. */
  readonly text: string
  /** The one that the guest could not take; where it ended itself, the last that it took before. */
  readonly exception: CrashException | undefined
  /** Function of the instruction pointer, where the kernel's symbols are known. */
  readonly symbol: string | undefined
  readonly code: readonly CrashInstruction[]
  readonly calls: readonly CrashCall[]
  /** Registers, raw code and stack; undefined for guests in TypeScript. */
  readonly state: CrashReport['state']
  /** What a guest written in TypeScript threw. */
  readonly cause: unknown
  /** Disks of the domain whose contents have failed, with the error of their own: what may be behind its end. */
  readonly diskErrors: readonly DiskError[]
}

/** The error that a disk's contents failed with last. */
export interface DiskError {
  /** The disk: `xvda`. */
  readonly disk: string
  readonly error: unknown
}

/** What the toolstack knows beside the report. */
export interface CrashFacts {
  readonly name: string
  readonly symbols: SymbolTable | undefined
  /** A guest in TypeScript threw `cause`, which may be undefined as well. */
  readonly threw: boolean
  readonly cause: unknown
  readonly diskErrors: readonly DiskError[]
}

const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(Number.isInteger(address) ? address : 0))

const symbolAt = (symbols: SymbolTable | undefined, address: number): string | undefined => {
  const place = symbols?.find(address)
  return place === undefined ? undefined : symbolText(place)
}

function decode(code: CrashedCode | undefined, cs: number): readonly Disassembled[] {
  if (code === undefined) return []
  const shown: Disassembled[] = []
  const codeSize = cs === FLAT.USER_CS32 ? 32 : 64
  for (const one of disassembleAll(code.bytes, { address: code.address, codeSize })) {
    const left = code.address + code.bytes.length - one.address
    if (shown.length === SHOWN_INSTRUCTIONS || (shown.length > 0 && left < LONGEST_INSTRUCTION)) break
    shown.push(one)
  }
  return shown
}

const instructionsOf = (code: CrashedCode | undefined, decoded: readonly Disassembled[]): CrashInstruction[] =>
  decoded.map(({ address, length, text }) => ({
    address: unsigned(address), text,
    bytes: code!.bytes.slice(address - code!.address, address - code!.address + length),
  }))

function exceptionOf({ exception, state }: CrashReport, symbols: SymbolTable | undefined): CrashException | undefined {
  if (exception === undefined) return undefined
  const { vector, errorCode, address, rip, fromUser, code } = exception
  const decoded = decode(code, state?.registers.cs ?? 0)
  const lacking = vector === VECTOR.UD ? decoded[0]?.lacking : undefined
  const opcode = vector === VECTOR.UD && decoded[0] !== undefined ? ` \`${decoded[0].text}\`` : ''
  const missing = lacking === undefined ? '' : `: ${lacking}: not offered by ${OFFERED_LEVEL}`
  return {
    vector, name: exceptionName(vector), errorCode, address: unsigned(address), rip: unsigned(rip), fromUser, lacking,
    symbol: symbolAt(symbols, rip), description: `${describeException(exception)}${opcode}${missing}`,
    code: instructionsOf(code, decoded),
  }
}

function callsOf({ state }: CrashReport, symbols: SymbolTable | undefined): CrashCall[] {
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
  const exception = exceptionOf(report, facts.symbols)
  const rip = state === undefined ? undefined : Number(BigInt.asIntN(64, state.registers.rip))
  const crash = {
    id: report.domid, name: facts.name, vcpu: report.vcpu, time: report.time, origin: report.origin,
    message: messageOf(report, exception, facts), exception, state, cause: facts.cause,
    diskErrors: facts.diskErrors,
    symbol: rip === undefined ? undefined : symbolAt(facts.symbols, rip),
    code: instructionsOf(state?.code, decode(state?.code, state?.registers.cs ?? 0)),
    calls: callsOf(report, facts.symbols),
  }
  return { ...crash, text: crashText(crash) }
}

/** The error of whoever waits for something that a crashed domain will never do. */
export function crashError(crash: DomainCrash, what: string, details: XenErrorDetails = {}): XenError {
  return new XenError('DOMAIN_CRASHED', `${what}: ${crash.text}`, {
    details: { domain: crash.id, ...details, crash }, cause: crash.cause,
  })
}
