/** Disk images with an ext2 file system, made on the spot by mke2fs (Debian's e2fsprogs), which needs no root for it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why no image can be made here; undefined where one can. Where `CI` is `true` nothing may be skipped, so there it throws. */
export function whyNoExt2(): string | undefined {
  if (spawnSync('mke2fs', ['-V']).error === undefined) return undefined
  const reason = ' (SKIPPED: no mke2fs on this machine)'
  if (process.env['CI'] === 'true') throw new Error(`a test cannot run here${reason}`)
  return reason
}

/** An ext2 file system of so many KiB with the given files; folders above them are made. */
export function ext2Image(kibibytes: number, files: Readonly<Record<string, string | Uint8Array>>): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-ext2-'))
  const root = join(folder, 'root')
  try {
    for (const [path, contents] of Object.entries(files)) {
      mkdirSync(join(root, path, '..'), { recursive: true })
      writeFileSync(join(root, path), contents)
    }
    const image = join(folder, 'disk.img')
    execFileSync('mke2fs', ['-q', '-t', 'ext2', '-d', root, image, String(kibibytes)], { stdio: 'ignore' })
    return new Uint8Array(readFileSync(image))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
