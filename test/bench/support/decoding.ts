/**
 * How fast code that was never seen is decoded: blocks begun all over the text of the program that runs this, Node's
 * own, which compilers made and no benchmark did.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { CodeCache } from '../../../src/machine/cpu/code/code-cache.ts'
import { DEFAULT_LEVEL } from '../../../src/machine/cpu/cpuid/features.ts'
import { HANDLER_NUMBERS } from '../../../src/machine/cpu/handlers/table.ts'
import { microTable } from '../../../src/machine/cpu/interpreter/compiled.ts'
import { MODE } from '../../../src/machine/cpu/layout/state.ts'
import { MachineMemory } from '../../../src/machine/memory/machine-memory.ts'

/** Bytes of code that are decoded. */
const TEXT_BYTES = 512 * 1024
/** Bytes between the beginnings of two blocks. */
const STRIDE = 64
const ROUNDS = 6

const LOADED = 1
const EXECUTABLE = 1

function readAt(file: number, offset: number, bytes: number): DataView {
  const buffer = new Uint8Array(bytes)
  const read = readSync(file, buffer, 0, bytes, offset)
  return new DataView(buffer.buffer, 0, read)
}

/** Code out of the middle of an ELF program's text; undefined when it is none. Reference: ELF-64 object file format. */
function textOf(path: string): Uint8Array | undefined {
  const file = openSync(path, 'r')
  try {
    const header = readAt(file, 0, 64)
    if (header.byteLength < 64 || header.getUint32(0) !== 0x7f45_4c46) return undefined
    const table = Number(header.getBigUint64(32, true))
    const [size, count] = [header.getUint16(54, true), header.getUint16(56, true)]
    for (let i = 0; i < count; i += 1) {
      const entry = readAt(file, table + i * size, size)
      if (entry.getUint32(0, true) !== LOADED || (entry.getUint32(4, true) & EXECUTABLE) === 0) continue
      const [offset, bytes] = [Number(entry.getBigUint64(8, true)), Number(entry.getBigUint64(32, true))]
      if (bytes < 2 * TEXT_BYTES) continue
      const text = readAt(file, offset + Math.floor(bytes / 2), TEXT_BYTES)
      return new Uint8Array(text.buffer, 0, text.byteLength)
    }
    return undefined
  } finally {
    closeSync(file)
  }
}

/** Millions of instructions decoded per second of processor time, round by round: the first one without any warm-up. */
export function decodingRates(): readonly number[] {
  const text = process.arch === 'x64' ? textOf(process.execPath) : undefined
  if (text === undefined) return []
  const memory = new MachineMemory(8 << 20, 1)
  const code = new CodeCache(memory, microTable(), { handlers: { numbers: HANDLER_NUMBERS }, level: DEFAULT_LEVEL })
  const start = memory.firstFrame * 4096
  memory.bytes.set(text, start)
  return Array.from({ length: ROUNDS }, () => {
    code.clear()
    const before = code.decoded
    const begun = process.cpuUsage()
    for (let host = start; host < start + text.length; host += STRIDE) {
      code.decode({ host, mode: MODE.CODE64, rip: host, nextPage: () => 0 })
    }
    const { user, system } = process.cpuUsage(begun)
    return (code.decoded - before) / (user + system)
  })
}
