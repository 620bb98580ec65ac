/**
 * The C xenstored of Debian's xen-utils-4.17, run without Xen on a socket of its own. It opens its database only when
 * it has met domain 0, so its calls to the hypervisor are answered by a small preloaded library, built here with gcc.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A server that runs in a process of its own. */
export interface ServerProcess {
  readonly socket: string
  readonly process: ChildProcess
  stop(): void
}

const root = fileURLToPath(new URL('../../..', import.meta.url))
const PROGRAMS = 'usr/lib/xen-4.17/bin'

/** Where a program of xen-utils is: installed, or unpacked into the ignored folder `.guests` by package name. */
export function findXenProgram(name: string): string {
  const installed = `/${PROGRAMS}/${name}`
  if (existsSync(installed)) return installed
  const folder = join(root, '.guests', 'xen-utils-4.17')
  const unpacked = join(folder, PROGRAMS, name)
  if (existsSync(unpacked)) return unpacked
  mkdirSync(folder, { recursive: true })
  execFileSync('apt-get', ['download', 'xen-utils-4.17'], { cwd: folder, stdio: 'ignore' })
  const file = readdirSync(folder).find((name) => name.endsWith('.deb'))
  if (file === undefined) throw new Error('apt-get gave no package')
  execFileSync('dpkg-deb', ['-x', file, '.'], { cwd: folder })
  return unpacked
}

/** Resolves when something listens at the path. */
export async function listening(socket: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    if (existsSync(socket)) return
    if (child.exitCode !== null) throw new Error(`the server ended with status ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error('the server does not come up')
}

/** What is started: a program that opens the socket `socket` in its folder. */
export interface ServerCommand {
  readonly program: string
  readonly words: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Builds and starts a server in a folder of its own; the reason as text when that is not possible here. */
export async function startServer(
  name: string, prepare: (folder: string) => ServerCommand,
): Promise<ServerProcess | string> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-server-'))
  try {
    const { program, words, env } = prepare(folder)
    const child = spawn(program, words, { env: { ...process.env, ...env }, stdio: 'ignore' })
    const socket = join(folder, 'socket')
    await listening(socket, child)
    const stop = (): void => {
      child.kill()
      rmSync(folder, { recursive: true, force: true })
    }
    return { socket, process: child, stop }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    return `absent: ${name} (${(error as Error).message.split('\n')[0]})`
  }
}

/** Starts it; the reason as text when that is not possible here. */
export const startPeer = (): Promise<ServerProcess | string> => startServer('C xenstored', (folder) => {
  const program = findXenProgram('xenstored')
  const shim = join(folder, 'shim.so')
  const source = fileURLToPath(new URL('xenstored-shim.c', import.meta.url))
  execFileSync('gcc', ['-O2', '-shared', '-fPIC', '-o', shim, source, '-ldl'], { stdio: 'pipe' })
  return { program, words: ['-N'], env: { LD_PRELOAD: shim, XENSTORED_RUNDIR: folder, XENSTORED_ROOTDIR: folder } }
})
