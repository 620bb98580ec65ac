/** Debian's gdb, without a terminal. */
import { execFile } from 'node:child_process'

/** Runs commands at a port, with the symbols of a file; what it prints, without lines of source, which may be there or not. `before`: those before it connects. */
export function gdb(image: string, port: number, commands: readonly string[], { before = [] }: { readonly before?: readonly string[] } = {}): Promise<string> {
  const words = ['set confirm off', 'set width 0', 'set pagination off', 'set source open off', ...before, `target remote localhost:${port}`, ...commands].flatMap((command) => ['-ex', command])
  return new Promise((done) => execFile('gdb', ['-batch', '-nx', ...words, image], { timeout: 120_000 }, (_error, out, err) => done(`${out}\n${err}`)))
}

/** A transcript without what differs from machine to machine, and from one build to the next: addresses, times, places, lines, paths. */
export const maskedTranscript = (text: string): string => text
  .replace(/\/\S*\/examples\/guests\/mini\//g, '').replace(/0x[0-9a-f]{4,}/g, '0x…').replace(/:\d+$/gm, ':…').replace(/line \d+/g, 'line …')
  .replace(/\d+\.\d{9} s/g, '… s').replace(/instruction \d+/g, 'instruction …').replace(/ of \d+/g, ' of …').replace(/^\d+\t/gm, '…\t')
  .replace(/^.*No such file or directory\.\n/gm, '').replace(/localhost:\d+/g, 'localhost:…').replace(/\/\S*\/mini-pv64\S*?(?=[\s\])]|$)/g, 'mini').replace(/^.*packet reply is too long.*\n/gm, '')
  .replace(/\(\d{3,}\)/g, '(…)').replace(/\/\S*\/symbols\.elf/g, 'symbols.elf').replace(/ \+ \d+ in section/g, ' + … in section')
  .replace(/in \S+\.c$/gm, 'in …').replace(/^.*warning:.*\n/gm, '').split('\n').map((line) => line.trimEnd()).join('\n').trim()
