/** One command of xl: connects to the host's process, carries the command out there, and says how it went. */
import { resolve } from 'node:path'
import { XenError } from '../../util/index.ts'
import { connectService } from '../service-socket.ts'
import { errorText, socketPath, statusOf } from './session.ts'
import { runVerb } from './verbs.ts'

/** Where a command runs. */
export interface Surroundings {
  /** What the tool is called by. */
  readonly tool: string
  /** The socket of the host's process. */
  readonly socket?: string | undefined
  readonly folder: string
  /** What is typed, while a console is open. */
  readonly typed: AsyncIterable<Uint8Array>
  readonly signal: AbortSignal
  out(bytes: string | Uint8Array): void
  err(text: string): void
}

/** Carries a command out; its exit status. */
export async function runXl([name = '', ...words]: readonly string[], { tool, socket = socketPath(), folder, typed, signal, out, err }: Surroundings): Promise<number> {
  try {
    const host = await connectService({ path: socket })
    try {
      await runVerb({ tool, host, signal, typed, path: (file) => resolve(folder, file), print: out, printBytes: out }, name, words)
    } finally {
      host.close()
    }
    return 0
  } catch (error) {
    const nobody = XenError.is(error, 'IO') && error.details['address'] !== undefined
    err(nobody ? `Error: no xend listens at ${socket}: start one by \`${tool} xend\`\n` : errorText(error))
    return statusOf(error)
  }
}
