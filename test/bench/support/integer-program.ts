/**
 * The integer program (test/bench/cpu-program) built for each environment, and the peers that run it: natively, on npm's
 * v86 and on qemu-system-x86_64; and the vector program, for all but v86. Phases are timed by the lines that the program prints.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const source = join(import.meta.dirname, '..', 'cpu-program')
/** The program's phases, in order. */
export const PHASES = ['crc', 'bits', 'sort', 'hash', 'call'] as const
/** Those of the vector program. */
export const VECTOR_PHASES = ['copy-sse2', 'copy-avx2', 'sum-sse2', 'sum-avx2', 'matrix-sse2', 'matrix-avx2', 'matrix-fma'] as const
const ALL_PHASES: ReadonlySet<string> = new Set([...PHASES, ...VECTOR_PHASES])

/** Which program. */
export type ProgramName = 'integer' | 'vector'

/** Where the program can be built to run. */
export type Target = 'native' | 'multiboot' | 'bare' | 'pv'

const freestanding = [
  '-O2', '-ffreestanding', '-fno-pic', '-no-pie', '-fno-stack-protector', '-nostdlib', '-static', '-fcf-protection=none',
  '-Wl,--build-id=none', '-Wl,--no-warn-rwx-segments', '-Wl,-T,flat.ld',
]
const at = (address: string): string => `-Wl,--defsym,load_address=${address}`
const INTEGER_ONLY: Record<Target, readonly string[]> = { native: [], multiboot: ['-mno-sse'], bare: ['-mgeneral-regs-only'], pv: ['-mgeneral-regs-only'] }
const flags: Record<Target, readonly string[]> = {
  native: ['-O2', '-fcf-protection=none', 'start-native.c'],
  multiboot: ['-m32', '-march=i686', ...freestanding, at('0x100000'), 'start-multiboot.S'],
  bare: [...freestanding, at('0x100000'), 'start-bare.S'],
  pv: ['-mcmodel=kernel', ...freestanding, at('0xffffffff80100000'), 'start-pv.S'],
}

/** Builds the program with gcc; `scale` multiplies its work, of the integer program by eighths. The path of the binary, or why there is none. */
export function build(target: Target, scale: number, program: ProgramName = 'integer'): { path: string } | { absent: string } {
  const path = join(mkdtempSync(join(tmpdir(), 'paravirt-bench-')), target)
  const how = program === 'integer' ? INTEGER_ONLY[target] : target === 'native' ? [] : ['-DKERNEL']
  try {
    execFileSync('gcc', [...flags[target], ...how, `-DSCALE=${scale}`, `-DEIGHTHS=${scale * 8}`, `${program}.c`, '-o', path], { cwd: source, stdio: 'pipe' })
    return { path }
  } catch (error) {
    return { absent: `gcc could not build for ${target}: ${String((error as Error).message).split('\n')[0]}` }
  }
}

/** Seconds by phase, and the checksums that prove the work was done. */
export interface Timing {
  readonly seconds: Record<string, number>
  readonly checksums: Record<string, string>
  readonly total: number
}

/** Turns the program's lines into times: a phase lasts from "NAME begin" to "NAME CHECKSUM". */
export class PhaseTimer {
  private readonly seconds: Record<string, number> = {}
  private readonly checksums: Record<string, string> = {}
  private begun = 0
  private rest = ''
  private readonly now: () => number
  /** True once the program has printed its last line. */
  done = false

  /** `now` tells milliseconds: of the clock on the wall unless given. */
  constructor(now: () => number = () => performance.now()) {
    this.now = now
  }

  /** Takes output as it comes, in pieces of any size. */
  push(text: string): void {
    const lines = (this.rest + text).split('\n')
    this.rest = lines.pop() ?? ''
    for (const line of lines) this.line(line.trim())
  }

  private line(line: string): void {
    const [name, word] = line.split(' ')
    if (name === 'done') this.done = true
    else if (word === 'begin') this.begun = this.now()
    else if (name !== undefined && word !== undefined && ALL_PHASES.has(name)) {
      this.seconds[name] = (this.now() - this.begun) / 1000
      this.checksums[name] = word
    }
  }

  result(): Timing {
    const total = Object.values(this.seconds).reduce((sum, value) => sum + value, 0)
    return { seconds: this.seconds, checksums: this.checksums, total }
  }
}

/** Runs a command and times the program's lines on its standard output; ends the command at the last line. */
function timeCommand(command: string, args: readonly string[], limitSeconds: number): Promise<Timing | { absent: string }> {
  return new Promise((resolve) => {
    const timer = new PhaseTimer()
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] })
    const stop = setTimeout(() => child.kill('SIGKILL'), limitSeconds * 1000)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      timer.push(text)
      if (timer.done) child.kill('SIGKILL')
    })
    child.on('error', () => resolve({ absent: command }))
    child.on('close', () => {
      clearTimeout(stop)
      resolve(timer.done ? timer.result() : { absent: `${command} did not finish in ${limitSeconds} s` })
    })
  })
}

/** The program as a process of this machine. */
export async function timeNative(scale: number, program: ProgramName = 'integer'): Promise<Timing | { absent: string }> {
  const built = build('native', scale, program)
  return 'absent' in built ? built : timeCommand(built.path, [], 120)
}

/** The program under QEMU's translator; 32-bit multiboot, as v86 runs it. */
export async function timeQemu(scale: number, program: ProgramName = 'integer', { oneCore = false }: { readonly oneCore?: boolean } = {}): Promise<Timing | { absent: string }> {
  const built = build('multiboot', scale, program)
  if ('absent' in built) return built
  const args = ['-accel', 'tcg', '-cpu', 'max', '-m', '64', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-kernel', built.path]
  const qemu = 'qemu-system-x86_64'
  return oneCore ? timeCommand('taskset', ['-c', '0', qemu, ...args], 300) : timeCommand(qemu, args, 300)
}

/** What is used of npm's v86. */
interface V86Module {
  V86: new (options: object) => { add_listener(name: string, listener: (byte: number) => void): void; destroy(): void }
}

/** The program under v86, with its compiler or without. */
export async function timeV86(scale: number, options: { readonly jit: boolean }): Promise<Timing | { absent: string }> {
  const built = build('multiboot', scale)
  if ('absent' in built) return built
  const name = 'v86'
  let module: V86Module
  try {
    module = (await import(name)) as V86Module
  } catch {
    return { absent: 'v86 (npm install --no-save v86)' }
  }
  const wasm = new URL('v86.wasm', import.meta.resolve(name)).pathname
  const kernel = new Uint8Array(readFileSync(built.path)).buffer
  const timer = new PhaseTimer()
  return new Promise((resolve) => {
    const machine = new module.V86({
      wasm_path: wasm, memory_size: 64 << 20, multiboot: { buffer: kernel }, autostart: true, disable_jit: !options.jit,
    })
    machine.add_listener('serial0-output-byte', (byte) => {
      timer.push(String.fromCharCode(byte))
      if (!timer.done) return
      machine.destroy()
      resolve(timer.result())
    })
  })
}
