/** Debian's gdb, without a terminal. */
import { execFile } from 'node:child_process'

/** Runs commands at a port, with the symbols of a file; what it prints. */
export function gdb(image: string, port: number, commands: readonly string[]): Promise<string> {
  const words = ['set confirm off', 'set width 0', 'set pagination off', `target remote localhost:${port}`, ...commands].flatMap((command) => ['-ex', command])
  return new Promise((done) => execFile('gdb', ['-batch', '-nx', ...words, image], { timeout: 120_000 }, (_error, out, err) => done(`${out}\n${err}`)))
}
