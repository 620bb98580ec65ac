/** Disk images with an ext2 file system, made on the spot by mke2fs (Debian's e2fsprogs), which needs no root for it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { whyNoProgram } from './programs.ts'

/** Why no image can be made here; undefined where one can. Where `CI` is `true` nothing may be skipped, so there it throws. */
export const whyNoExt2 = (): string | undefined => whyNoProgram('mke2fs', '-V')

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
