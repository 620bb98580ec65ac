/**
 * Debian's libxlutil, which is what xl reads description files with, asked through a small C program
 * (test/unit/toolstack/config/xlu.c): many texts in, what it makes of each out.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { buildNative } from './native-build.ts'

/** A value as the library has it: the bytes of a text as hexadecimal digits, or a list. */
export type XluValue = string | readonly XluValue[]

/** What the library says about one text; which fields there are depends on what it was asked. */
export interface XluAnswer {
  /** 0, an errno, or -1 where the library aborted. */
  readonly error: number
  /** What it printed, as hexadecimal digits. */
  readonly report: string
  readonly keys?: Readonly<Record<string, { readonly value?: XluValue; readonly number?: string }>>
  readonly [field: string]: unknown
}

/** What is asked: `c` is a description file, `d` a disk specification, `r` a rate. */
export interface XluQuestion {
  readonly kind: 'c' | 'd' | 'r'
  readonly text: string
}

/** Why the library cannot be asked here; undefined where it can. Where `CI` is `true` nothing may be skipped, so there it throws. */
export function whyNoXlu(): string | undefined {
  const why = existsSync('/usr/include/libxlutil.h') ? program().reason : 'libxen-dev is not installed'
  if (why === undefined) return undefined
  if (process.env['CI'] === 'true') throw new Error(`a test cannot run here: ${why}`)
  return ` (SKIPPED: ${why})`
}

const program = () => buildNative(
  fileURLToPath(new URL('../unit/toolstack/config/xlu.c', import.meta.url)),
  ['-O1', '-Wl,--no-as-needed', '-lxlutil', '-lxenlight'],
)

function request(kind: string, text: string): Buffer {
  const data = Buffer.from(text, 'utf8')
  const head = Buffer.alloc(5)
  head.write(kind, 0, 'latin1')
  head.writeUInt32LE(data.length, 1)
  return Buffer.concat([head, data])
}

/** Asks the library about many texts; `keys` are looked up in description files. */
export function askXlu(keys: readonly string[], questions: readonly XluQuestion[]): readonly XluAnswer[] {
  const input = Buffer.concat([request('n', keys.join(',')), ...questions.map(({ kind, text }) => request(kind, text))])
  const { stdout, status, error } = spawnSync(program().path!, [], { input, maxBuffer: 2 ** 28, encoding: 'utf8' })
  if (error !== undefined || status !== 0) throw error ?? new Error(`the program that asks libxlutil ended with ${status}`)
  return stdout.trim().split('\n').map((line) => JSON.parse(line) as XluAnswer)
}
