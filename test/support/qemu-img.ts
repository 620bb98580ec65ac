/** Debian's qemu-img, which judges images that are written here. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'

const PATH = '/usr/bin/qemu-img'

/** Why there is none; undefined where there is one. CI fails without. */
export function whyNoQemuImg(): string | undefined {
  if (existsSync(PATH)) return undefined
  if (process.env['CI'] === 'true') throw new Error('there is no qemu-img: apt-get install qemu-utils')
  return ' SKIPPED: no qemu-img (apt-get install qemu-utils)'
}

/** What it prints. Throws where it fails, with what it says. */
export function qemuImg(...args: readonly string[]): string {
  return execFileSync(PATH, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Throws unless it finds an image sound, with no cluster lost either. */
export const checkImage = (path: string): void => void qemuImg('check', '-f', 'qcow2', path)
