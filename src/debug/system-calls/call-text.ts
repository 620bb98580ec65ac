/** Arguments and results of system calls in strace's words: numbers as their type has them, texts between quotes, errors by name. */
import { ERRNO } from '../../abi/index.ts'

/** A number, or the text that a pointer leads to. */
export type CallValue = number | bigint | string

/** Bytes of a text that are shown, as strace does. */
const MOST_SHOWN = 32
const MOST_READ = 4096
/** Types whose argument is a text that ends with a zero byte. */
const TEXT = /^const char \*$/
const SIGNED: Readonly<Record<string, number>> = { int: 32, long: 64, pid_t: 32, time_t: 64, loff_t: 64, off_t: 64, ssize_t: 64, key_t: 32, mqd_t: 32, clockid_t: 32, timer_t: 32, key_serial_t: 32, 'const clockid_t': 32 }
const SHORT: Readonly<Record<string, number>> = { 'unsigned int': 32, u32: 32, __u32: 32, uid_t: 32, gid_t: 32, qid_t: 32, umode_t: 16, 'unsigned': 32 }
/** Errors that Linux has and Xen has not. Reference: Linux, include/uapi/asm-generic/errno-base.h, errno.h. */
const OF_LINUX = { EINTR: 4, ENOTBLK: 15, ENOTTY: 25, ETXTBSY: 26, EFBIG: 27, ESPIPE: 29, EPIPE: 32, ELOOP: 40, ENOTCONN: 107, ETIMEDOUT: 110, EINPROGRESS: 115, ERESTARTSYS: 512, ERESTART_RESTARTBLOCK: 516 } as const
/** Of two names of a number the first. */
const NAMES: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([...Object.entries(ERRNO), ...Object.entries(OF_LINUX)].reverse().map(([name, number]) => [number, name]))
/** Results from -4095 on are errors. */
const MOST_ERROR = 4095n

/** What an argument of a type stands for. A pointer that leads nowhere stays a number. */
export function valueOf(type: string, raw: bigint, read: (address: bigint, length: number) => Uint8Array): CallValue {
  if (TEXT.test(type) && raw !== 0n) {
    const bytes = read(raw, MOST_READ)
    const end = bytes.indexOf(0)
    return bytes.length === 0 ? raw : Array.from(bytes.subarray(0, end < 0 ? bytes.length : end), (byte) => String.fromCharCode(byte)).join('')
  }
  const signed = SIGNED[type]
  if (signed !== undefined) return signed === 32 ? Number(BigInt.asIntN(32, raw)) : BigInt.asIntN(64, raw)
  const short = SHORT[type]
  return short === undefined ? raw : Number(BigInt.asUintN(short, raw))
}

const escaped = (text: string): string => text.slice(0, MOST_SHOWN).replace(/["\\]/g, '\\$&').replace(/\n/g, '\\n').replace(/\t/g, '\\t').replace(/[^\x20-\x7e]/g, (character) => `\\${character.charCodeAt(0).toString(8)}`)

function shown(type: string, value: CallValue): string {
  if (typeof value === 'string') return `"${escaped(value)}"${value.length > MOST_SHOWN ? '...' : ''}`
  if (type.endsWith('*')) return value === 0n ? 'NULL' : `0x${value.toString(16)}`
  return SIGNED[type] !== undefined || type === 'size_t' ? String(value) : value < 10 ? String(value) : `0x${value.toString(16)}`
}

/** `-1 ENOENT`, as strace has errors, or the number; large ones are addresses. */
function resultText(result: bigint): string {
  if (result < 0n && result >= -MOST_ERROR) {
    const name = NAMES.get(Number(-result))
    return name === undefined ? `-1 (error ${-result})` : `-1 ${name}`
  }
  return result >= 0n && result < 1n << 31n ? String(result) : `0x${BigInt.asUintN(64, result).toString(16)}`
}

/** A call in one line. */
export function callText(name: string, given: readonly { readonly name: string; readonly type: string; readonly value: CallValue }[], result: bigint | undefined): string {
  const words = given.map((one) => `${one.name}=${shown(one.type, one.value)}`)
  return `${name}(${words.join(', ')}) = ${result === undefined ? '?' : resultText(result)}`
}
