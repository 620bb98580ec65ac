/** How xm and xend talk: a Unix socket, one connection for each command, a line of JSON for each message. */
import type { Socket } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** What xm sends: its command and where it was typed, then what is typed into a console, as one character a byte. */
export type Request = { readonly words: readonly string[]; readonly folder: string } | { readonly typed: string }

/** What xend answers: output, one character a byte, or an error's text, and at last the exit status. */
export type Answer = { readonly out: string } | { readonly err: string } | { readonly status: number }

/** Where xend listens. */
export const socketPath = (): string =>
  process.env['XEND_SOCKET'] ?? join(process.env['XDG_RUNTIME_DIR'] ?? homedir(), '.xend.sock')

/** Sends one message. */
export function send(socket: Socket, message: Request | Answer): void {
  socket.write(`${JSON.stringify(message)}\n`)
}

/** The messages that come, until the other end is gone. The socket's file lets in its owner alone, who is trusted. */
export async function* receive<T extends Request | Answer>(socket: Socket): AsyncGenerator<T, void> {
  for await (const line of createInterface({ input: socket })) yield JSON.parse(line) as T
}
