/** A server that does nothing but answer OK, built here with gcc: how fast any server could be behind this client. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startServer, type ServerProcess } from './xenstored-peer.ts'

/** Starts it; the reason as text when that is not possible here. */
export const startIdleServer = (): Promise<ServerProcess | string> => startServer('idle server', (folder) => {
  const program = join(folder, 'idle-server')
  const source = fileURLToPath(new URL('idle-server.c', import.meta.url))
  execFileSync('gcc', ['-O2', '-o', program, source], { stdio: 'pipe' })
  return { program, words: [join(folder, 'socket')] }
})
