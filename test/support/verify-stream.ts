/** Xen's own checker of saved images, run over a file of ours. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { guestFile } from './guests.ts'

/** What it says; its status is 0 when the stream is as the specification wants it. */
export function verifyStream(file: Uint8Array): { readonly status: number | null; readonly text: string } {
  // It takes a short read of a pipe for the end, so it gets a file.
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-stream-'))
  try {
    const path = join(folder, 'domain.xl')
    writeFileSync(path, file)
    const run = spawnSync('python3', [guestFile('verifyStream')!, '--format', 'xl', '--verbose', '--in', path], {
      encoding: 'utf8',
      env: { ...process.env, PYTHONPATH: dirname(guestFile('xenPython')!), PYTHONDONTWRITEBYTECODE: '1' },
      maxBuffer: 1 << 26,
    })
    return { status: run.status, text: `${run.stdout}${run.stderr}` }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
