/** Listening at the path of a Unix socket where its owner alone gets in. */
import { once } from 'node:events'
import { chmodSync, unlinkSync } from 'node:fs'
import { connect, type Server } from 'node:net'
import { isMainThread } from 'node:worker_threads'

/** Listens at a path; a file that a dead process has left is replaced. Rejects where another process listens, and with Node's own errors. */
export async function listenAt(server: Server, path: string): Promise<void> {
  const probe = connect(path)
  const taken = await once(probe, 'connect').then(() => true, (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNREFUSED') unlinkSync(path)
    return false
  })
  probe.destroy()
  if (taken) throw new Error(`another process listens at ${path}`)
  // The file has its permissions before anybody can open it; a thread cannot say so, and sets them as soon as it is there.
  const before = isMainThread ? process.umask(0o177) : undefined
  server.listen(path)
  if (before !== undefined) process.umask(before)
  await once(server, 'listening')
  chmodSync(path, 0o600)
}
