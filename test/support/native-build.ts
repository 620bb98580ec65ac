/**
 * Compiles one C file of test/ for the processor underneath, into the system's folder for temporary files, once per
 * content. Where there is no gcc or no x86-64 processor, says why instead, so that a test can skip with a reason.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A program to run, or the reason why there is none. */
export type NativeProgram =
  | { readonly path: string; readonly reason: undefined }
  | { readonly path: undefined; readonly reason: string }

/** Compiles `source` (a path) with gcc and the given options. */
export function buildNative(source: string, options: readonly string[]): NativeProgram {
  if (process.arch !== 'x64' || process.platform !== 'linux') {
    return { path: undefined, reason: `needs x86-64 Linux, this is ${process.arch} ${process.platform}` }
  }
  const hash = createHash('sha256').update(readFileSync(source)).update(options.join(' ')).digest('hex').slice(0, 16)
  const folder = join(tmpdir(), 'paravirt-native')
  const path = join(folder, hash)
  if (existsSync(path)) return { path, reason: undefined }
  mkdirSync(folder, { recursive: true })
  const fresh = `${path}.${process.pid}`
  try {
    execFileSync('gcc', [...options, '-o', fresh, source], { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { path: undefined, reason: 'gcc is not installed' }
    throw error
  }
  renameSync(fresh, path)
  return { path, reason: undefined }
}
