/** A server that does nothing but answer OK, built here with gcc: how fast any server could be behind this client. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { listening, type ServerProcess } from './xenstored-peer.ts'

/** Starts it; the reason as text when that is not possible here. */
export async function startIdleServer(): Promise<ServerProcess | string> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-idle-'))
  try {
    const binary = join(folder, 'idle-server')
    const source = fileURLToPath(new URL('idle-server.c', import.meta.url))
    execFileSync('gcc', ['-O2', '-o', binary, source], { stdio: 'pipe' })
    const socket = join(folder, 'socket')
    const child = spawn(binary, [socket], { stdio: 'ignore' })
    await listening(socket, child)
    const stop = (): void => {
      child.kill()
      rmSync(folder, { recursive: true, force: true })
    }
    return { socket, process: child, stop }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    return `absent: idle server (${(error as Error).message.split('\n')[0]})`
  }
}
