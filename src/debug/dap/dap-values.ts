/** What an editor shows of a guest that stands: its vCPUs, who called, registers, memory, code, and what an expression means. */
import type { DebugProtocol } from '@vscode/debugprotocol'
import { symbolsOf, type Host, type SymbolLookup } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { littleEndian, registersOf, valueOf, type DebugRegister } from '../gdb/register-table.ts'
import type { Ground } from '../inferior/ground.ts'
import type { Inferior } from '../inferior/inferior.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'
import { linux } from '../linux/linux-view.ts'
import { attempt } from '../memory/virtual-memory.ts'
import { OrcTables } from '../stack/orc.ts'
import { stackOf, type StackFrame } from '../stack/stack-walk.ts'
import { addressIn, addressText, referenceOf, textOf, wholeOf, type DapArguments } from './dap-arguments.ts'
import { listing, MOST_LISTED, placeText } from './listing.ts'

/** Bytes that are read at once at most. */
const MOST_READ = 1 << 20
/** Registers that are shown apart: of x87 and SSE. */
const VECTORS = /^(st\d|f(ctrl|stat|tag|iseg|ioff|oseg|ooff|op)|xmm\d+|mxcsr)$/

const signed = (address: bigint): number => Number(BigInt.asIntN(64, address))
const toBase64 = (bytes: Uint8Array): string => {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}
const fromBase64 = (text: string): Uint8Array | undefined => {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch {
    return undefined
  }
}

/** A group of variables. */
interface Scope {
  readonly vcpu: number
  readonly frame: StackFrame
  readonly isInnermost: boolean
  readonly of: 'registers' | 'vectors'
}

/** A frame that was told. */
interface ToldFrame {
  readonly vcpu: number
  readonly index: number
  readonly frame: StackFrame
}

/** What is seen. Numbers of frames and scopes are good until the guest runs again. */
export class DapValues {
  private readonly inferior: Inferior
  private readonly ground: Ground
  private frames: ToldFrame[] = []
  private scopes: Scope[] = []
  /** Tables of unwinding by host: one that was brought elsewhere may be another. */
  private readonly tables = new WeakMap<Host, OrcTables | 'none'>()

  constructor(inferior: Inferior, ground: Ground) {
    this.inferior = inferior
    this.ground = ground
  }

  /** The guest runs: what was told is no longer. */
  forget(): void {
    this.frames = []
    this.scopes = []
  }

  get symbols(): SymbolLookup | undefined {
    return attempt(() => symbolsOf(this.ground.host, this.inferior.domid))
  }

  /** The address that a text means: a number, a function with or without an offset; undefined for what is neither. */
  addressOf(text: string): bigint | undefined {
    const number = addressIn(text)
    if (number !== undefined) return number
    const [, name, offset] = /^\s*&?([A-Za-z_][\w.$]*)\s*(?:\+\s*(0x[0-9a-f]{1,8}|\d{1,9}))?\s*$/i.exec(text) ?? []
    const start = name === undefined ? undefined : this.symbols?.addressOf(name) ?? this.dataOf(name)
    return start === undefined ? undefined : BigInt.asUintN(64, BigInt(start) + BigInt(offset ?? 0))
  }

  private dataOf(name: string): number | undefined {
    return attempt(() => linux(this.ground.host, this.inferior.domid))?.addressOf(name)
  }

  /** Frames of a vCPU. */
  stack(vcpu: number): readonly StackFrame[] {
    const context = this.inferior.context(vcpu)
    if (context === undefined) return []
    return stackOf({ context, width: this.inferior.facts.width, read: (address, length) => this.inferior.read(address, length), symbols: this.symbols, orc: this.orc() })
  }

  private orc(): OrcTables | undefined {
    const { host } = this.ground
    const known = this.tables.get(host)
    if (known !== undefined) return known === 'none' ? undefined : known
    const view = attempt(() => linux(host, this.inferior.domid))
    const found = view === undefined ? undefined : OrcTables.of(view)
    this.tables.set(host, found ?? 'none')
    return found
  }

  stackTrace(vcpu: number, from: DapArguments): DebugProtocol.StackTraceResponse['body'] {
    const all = this.stack(vcpu)
    const start = Math.max(0, wholeOf(from, 'startFrame', 0))
    const levels = wholeOf(from, 'levels', 0)
    const shown = all.slice(start, levels > 0 ? start + levels : undefined)
    const { symbols } = this
    return {
      totalFrames: all.length,
      stackFrames: shown.map((frame, i): DebugProtocol.StackFrame => {
        this.frames.push({ vcpu, index: start + i, frame })
        // A return address may lie right behind the end of a function whose last instruction is a call.
        const before = symbols?.find(signed(frame.ip) - 1)
        const name = frame.isExact || before === undefined ? placeText(symbols, frame.ip) : `${before.name}+0x${(before.offset + 1).toString(16)}`
        return {
          id: this.frames.length, name: frame.isCertain ? name : `? ${name}`, line: 0, column: 0, instructionPointerReference: addressText(frame.ip),
          ...(frame.isCertain ? {} : { presentationHint: 'subtle' as const }),
        }
      }),
    }
  }

  scopesOf(from: DapArguments): DebugProtocol.ScopesResponse['body'] {
    const told = this.frames[wholeOf(from, 'frameId') - 1]
    if (told === undefined) throw new XenError('INVALID_ARGUMENT', 'there is no such frame any more')
    const scope = (of: Scope['of'], name: string): DebugProtocol.Scope => {
      this.scopes.push({ vcpu: told.vcpu, frame: told.frame, isInnermost: told.index === 0, of })
      return { name, variablesReference: this.scopes.length, expensive: of === 'vectors', ...(of === 'registers' ? { presentationHint: 'registers' as const } : {}) }
    }
    return { scopes: [scope('registers', 'Registers'), ...(told.index === 0 ? [scope('vectors', 'Floating point and vectors')] : [])] }
  }

  variables(from: DapArguments): DebugProtocol.VariablesResponse['body'] {
    const scope = this.scopeOf(from)
    if (!scope.isInnermost) return { variables: [this.variable('rip', scope.frame.ip, 64), this.variable('rsp', scope.frame.sp, 64)] }
    const context = this.contextOf(scope.vcpu)
    const rows = this.registers().filter(({ name }) => VECTORS.test(name) === (scope.of === 'vectors'))
    return { variables: rows.map((one) => this.variable(one.name, one.read(context), one.bits)) }
  }

  private variable(name: string, value: bigint, bits: number): DebugProtocol.Variable {
    const place = bits >= 32 && bits <= 64 ? this.symbols?.find(signed(value)) : undefined
    const text = `0x${value.toString(16).padStart(bits / 4, '0')}`
    return { name, value: place === undefined ? text : `${text} <${placeText(this.symbols, value)}>`, variablesReference: 0, evaluateName: `$${name}`, ...(bits === 64 ? { memoryReference: addressText(value) } : {}) }
  }

  private scopeOf(from: DapArguments): Scope {
    const scope = this.scopes[wholeOf(from, 'variablesReference') - 1]
    if (scope === undefined) throw new XenError('INVALID_ARGUMENT', 'there is no such group of variables any more')
    return scope
  }

  private registers(): readonly DebugRegister[] {
    return registersOf(this.inferior.facts)
  }

  private contextOf(vcpu: number): ThreadContext {
    const context = this.inferior.registers(vcpu)
    if (context === undefined) throw new XenError('INVALID_STATE', `vCPU ${vcpu} has no registers`)
    return context
  }

  /** Gives a register of the innermost frame another value. */
  async setVariable(from: DapArguments): Promise<DebugProtocol.SetVariableResponse['body']> {
    const scope = this.scopeOf(from)
    const one = this.registers().find(({ name }) => name === textOf(from, 'name'))
    const value = this.addressOf(textOf(from, 'value'))
    if (!scope.isInnermost || one === undefined) throw new XenError('INVALID_ARGUMENT', 'only registers of the innermost frame can be changed')
    if (value === undefined || value >= 1n << BigInt(one.bits)) throw new XenError('INVALID_ARGUMENT', `${one.name} takes a number of ${one.bits} bits`)
    const changed = one.write(this.contextOf(scope.vcpu), valueOf(littleEndian(value, one.bits)))
    if (changed === undefined || !(await this.inferior.setContext(scope.vcpu, changed))) throw new XenError('INVALID_ARGUMENT', `this value of ${one.name} is refused`)
    return { value: `0x${one.read(this.contextOf(scope.vcpu)).toString(16).padStart(one.bits / 4, '0')}` }
  }

  readMemory(from: DapArguments): DebugProtocol.ReadMemoryResponse['body'] {
    const address = referenceOf(from, 'memoryReference')
    const count = Math.min(Math.max(0, wholeOf(from, 'count')), MOST_READ)
    const bytes = this.inferior.read(address, count)
    return { address: addressText(address), data: toBase64(bytes), ...(bytes.length < count ? { unreadableBytes: count - bytes.length } : {}) }
  }

  async writeMemory(from: DapArguments): Promise<DebugProtocol.WriteMemoryResponse['body']> {
    const address = referenceOf(from, 'memoryReference')
    const bytes = fromBase64(textOf(from, 'data'))
    if (bytes === undefined) throw new XenError('INVALID_ARGUMENT', 'data must be bytes in base64')
    if (bytes.length > 0 && !(await this.inferior.write(address, bytes))) throw new XenError('INVALID_ARGUMENT', `${addressText(address)} cannot be written`)
    return { bytesWritten: bytes.length }
  }

  disassemble(from: DapArguments): DebugProtocol.DisassembleResponse['body'] {
    const count = wholeOf(from, 'instructionCount')
    const first = wholeOf(from, 'instructionOffset', 0)
    if (count < 0 || count > MOST_LISTED || Math.abs(first) > MOST_LISTED) throw new XenError('INVALID_ARGUMENT', `${MOST_LISTED} instructions are listed at most`)
    const code = { read: (at: bigint, length: number) => this.inferior.read(at, length), symbols: this.symbols, codeSize: this.inferior.facts.width }
    return { instructions: [...listing(code, { address: referenceOf(from, 'memoryReference'), first, count })] }
  }

  /** A register by `$name`, or an address by number or symbol with the word that stands there; undefined for what is neither. */
  evaluate(expression: string, frameId: number | undefined, vcpu: number): DebugProtocol.EvaluateResponse['body'] | undefined {
    const name = /^\s*\$(\w+)\s*$/.exec(expression)?.[1]?.replace(/^pc$/, 'rip').replace(/^sp$/, 'rsp')
    if (name !== undefined) {
      const of = frameId === undefined ? vcpu : this.frames[frameId - 1]?.vcpu ?? vcpu
      const one = this.registers().find((each) => each.name === name)
      if (one === undefined) throw new XenError('INVALID_ARGUMENT', `there is no register ${name}`)
      const { value, memoryReference } = this.variable(name, one.read(this.contextOf(of)), one.bits)
      return { result: value, variablesReference: 0, ...(memoryReference === undefined ? {} : { memoryReference }) }
    }
    const address = this.addressOf(expression)
    if (address === undefined) return undefined
    const bytes = this.inferior.read(address, 8)
    const word = bytes.length < 8 ? 'not mapped' : `0x${new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true).toString(16).padStart(16, '0')}`
    const place = this.symbols?.find(signed(address)) === undefined ? '' : ` <${placeText(this.symbols, address)}>`
    return { result: `${addressText(address)}${place}: ${word}`, variablesReference: 0, memoryReference: addressText(address) }
  }
}
