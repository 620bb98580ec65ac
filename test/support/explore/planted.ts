/**
 * Eight programs with a planted bug each, and each of them put right, at the shell of Debian's Linux: built by gcc, put in by the initial
 * RAM disk, started by typing. Sources are in test/guests/planted.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { debianGuests, folderCache } from '../../../src/node/index.ts'
import { linux, scenario, type Scenario } from '../../../src/testing/index.ts'
import type { Host, Moment } from '../../../src/toolstack/index.ts'
import { GUESTS_FOLDER } from '../guests.ts'

/** The programs. */
export const PLANTED = [
  'lost-update', 'check-then-act', 'aba', 'missed-wakeup', 'lock-order', 'publication', 'signal-race', 'few-instructions',
] as const

const SOURCES = fileURLToPath(new URL('../../guests/planted/', import.meta.url))
const GOLDEN = fileURLToPath(new URL('../../golden/', import.meta.url))
const FOLDER = join(tmpdir(), 'paravirt-planted')

/** The path of a program with its symbols. Throws where there is no gcc. */
function build(name: string, options: readonly string[]): string {
  const source = join(SOURCES, `${name}.c`)
  const hash = createHash('sha256').update(readFileSync(source)).update(readFileSync(join(SOURCES, 'planted.h'))).update(options.join())
  const path = join(FOLDER, hash.digest('hex').slice(0, 16))
  if (!existsSync(path)) {
    mkdirSync(FOLDER, { recursive: true })
    execFileSync('gcc', ['-static', '-O1', '-pthread', '-Wall', '-Wextra', '-Werror', ...options, '-o', `${path}.${process.pid}`, source])
    renameSync(`${path}.${process.pid}`, path)
  }
  return path
}

function stripped(program: string): Uint8Array {
  const path = `${program}.stripped.${process.pid}`
  execFileSync('strip', ['-o', path, program])
  const bytes = readFileSync(path)
  rmSync(path)
  return bytes
}

/** All of them, with symbols and as they are put in. */
const programs = PLANTED.flatMap((name) => [{ name: name as string, options: [] as string[] }, { name: `${name}-fixed`, options: ['-DFIXED'] }])
  .map(({ name, options }) => ({ name, options, source: name.replace(/-fixed$/, '') }))

/** Debian's Linux with so many vCPUs, all programs on its disk, and lines that SDKs have written. */
export function plantedLinux(vcpus: number): Promise<Moment<Host>> {
  const files: Record<string, Uint8Array> = Object.fromEntries(programs.map(({ name, options, source }) => [`planted/${name}`, stripped(build(source, options))]))
  for (const language of ['cpp', 'python']) files[`planted/${language}.jsonl`] = readFileSync(join(GOLDEN, `antithesis-sdk-${language}.jsonl`))
  return linux({ guests: debianGuests(GUESTS_FOLDER), cache: folderCache(), vcpus, memory: 192, files }).moment()
}

/** The test of one of them. So many `spaces` are typed in front of its name: where its plain run begins depends on them. */
export function planted(name: string, from: Moment<Host>, spaces = 0): Scenario {
  const { options, source } = programs.find((one) => one.name === name)!
  return scenario({
    name, from, limits: { time: '20s' }, symbols: { linux: [readFileSync(build(source, options))] },
    body: async ({ host, always }) => {
      const { console } = host.domain('linux')
      await console.write(`${' '.repeat(spaces)}/planted/${name}\r`)
      const [, word] = await console.waitFor(/planted: (fine|wrong)\n/)
      always(word === 'fine', `${name} is right`)
    },
  })
}
