/** Folders that tests write to: golden files, and what failed tests leave behind. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ArtifactWriter, GoldenFiles } from '../testing/index.ts'

/**
 * A folder of golden files. They are written anew where `update` is true; by default where the variable `UPDATE_GOLDEN` is set.
 *
 * @example
 * await recordEvents(host).expectGolden(goldenFolder('test/golden'), 'boot.txt')
 */
export function goldenFolder(folder: string, { update = (process.env['UPDATE_GOLDEN'] ?? '') !== '' }: { readonly update?: boolean } = {}): GoldenFiles {
  const pathOf = (name: string): string => join(folder, name)
  return {
    update,
    read: async (name) => (existsSync(pathOf(name)) ? readFile(pathOf(name), 'utf8') : undefined),
    write: async (name, text) => {
      await mkdir(dirname(pathOf(name)), { recursive: true })
      await writeFile(pathOf(name), text)
    },
  }
}

/** A folder for the reports and captures of failed tests; it is made when there is something for it. */
export const artifactFolder = (folder: string): ArtifactWriter => ({
  write: async (name, contents) => {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, name), contents)
  },
})
