import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { guestFile, whyMissing } from '../../support/guests.ts'
import { busyboxInitramfs, writeCpio } from '../../../src/testing/index.ts'

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** What an archive holds: name, mode and contents of each entry. */
function readCpio(archive: Uint8Array): { name: string; mode: number; contents: string }[] {
  const entries = []
  for (let at = 0; ;) {
    expect(text(archive.subarray(at, at + 6))).toBe('070701')
    const number = (index: number): number =>
      Number.parseInt(text(archive.subarray(at + 6 + index * 8, at + 14 + index * 8)), 16)
    const nameEnd = at + 110 + number(11)
    const name = text(archive.subarray(at + 110, nameEnd - 1))
    const start = (nameEnd + 3) & ~3
    const contents = text(archive.subarray(start, start + number(6)))
    if (name === 'TRAILER!!!') return entries
    entries.push({ name, mode: number(1), contents })
    at = (start + number(6) + 3) & ~3
  }
}

describe('an initramfs', () => {
  test('has an archive that reads back as it was written, whatever the lengths', () => {
    for (const size of [0, 1, 2, 3, 4, 5]) {
      const archive = writeCpio([
        { kind: 'folder', path: 'a' },
        { kind: 'file', path: 'a/file', contents: 'x'.repeat(size), mode: 0o755 },
        { kind: 'link', path: 'link', target: 'a/file' },
      ])
      expect(archive.length % 4).toBe(0)
      expect(readCpio(archive)).toEqual([
        { name: 'a', mode: 0o40755, contents: '' },
        { name: 'a/file', mode: 0o100755, contents: 'x'.repeat(size) },
        { name: 'link', mode: 0o120777, contents: 'a/file' },
      ])
    }
  })

  test('makes the folders of its files, each once and before its contents', () => {
    const names = readCpio(busyboxInitramfs({
      busybox: new Uint8Array(5), script: 'poweroff -f\n', files: { 'lib/modules/a.ko': 'A', 'lib/b': 'B' },
    })).map((entry) => entry.name)
    expect(names).toEqual([
      'bin', 'dev', 'lib', 'lib/modules', 'sbin', 'dev/console', 'bin/busybox', 'init', 'sbin/poweroff', 'sbin/reboot', 'lib/modules/a.ko', 'lib/b',
    ])
  })

  const missing = whyMissing('busybox')
  test.skipIf(missing)(`is unpacked by a program that did not write it${missing ?? ''}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'initramfs-'))
    const busybox = guestFile('busybox') ?? ''
    try {
      const archive = writeCpio([
        { kind: 'folder', path: 'etc' },
        { kind: 'file', path: 'etc/run', contents: 'hello\n', mode: 0o750 },
        { kind: 'link', path: 'run', target: 'etc/run' },
      ])
      execFileSync(busybox, ['cpio', '-i'], { cwd: folder, input: archive, stdio: ['pipe', 'ignore', 'ignore'] })
      expect(readFileSync(join(folder, 'run'), 'utf8')).toBe('hello\n')
      expect(statSync(join(folder, 'etc/run')).mode & 0o777).toBe(0o750)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
