/**
 * A unikernel in OCaml as a PVH kernel, and the same program for the system underneath, by Debian's packages: OCaml's compiler
 * and run-time system, the C library of musl, MirageOS's ciphers with the C code that they have; under them mini and
 * test/guests/unikernel.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildMini } from './build-mini.ts'
import { guestFile, whyMissing } from './guests.ts'

const SOURCES = fileURLToPath(new URL('../guests/unikernel/', import.meta.url))

/** Why it cannot be built here; undefined where it can. */
export const whyNoUnikernel = (): string | undefined => whyMissing('ocaml', 'ocamlopt', 'musl', 'cstruct', 'eqaf', 'mirageCrypto')

/** Paths of both. */
export interface Unikernel {
  readonly kernel: string
  readonly native: string
  /** Removes what was built for this one alone. */
  remove(): void
}

/** Builds both. */
export function buildUnikernel(): Unikernel {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-unikernel-'))
  const run = (program: string, ...args: readonly string[]): void => {
    execFileSync(program, args, { cwd: folder, env: { ...process.env, OCAMLLIB: guestFile('ocaml') }, stdio: ['ignore', 'ignore', 'pipe'] })
  }
  copyFileSync(join(SOURCES, 'main.ml'), join(folder, 'main.ml'))
  const [cstruct, eqaf, crypto] = [guestFile('cstruct')!, guestFile('eqaf')!, guestFile('mirageCrypto')!]
  const libraries = [
    ...[cstruct, eqaf, join(eqaf, 'bigstring'), join(eqaf, 'cstruct'), crypto].flatMap((path) => ['-I', path]),
    'bigarray.cmxa', 'cstruct.cmxa', 'eqaf.cmxa', 'eqaf_bigstring.cmxa', 'eqaf_cstruct.cmxa', 'mirage_crypto.cmxa', 'main.ml',
  ]
  run(guestFile('ocamlopt')!, '-o', 'native', ...libraries)
  run(guestFile('ocamlopt')!, '-noautolink', '-output-obj', '-o', 'program.o', ...libraries)
  run('gcc', '-O2', '-ffreestanding', '-fno-pic', '-c', '-o', 'fortified.o', join(SOURCES, 'fortified.c'))
  run(
    'ld', '-r', '-o', 'unikernel.o', '-u', '__libc_start_main', '-u', 'main', 'program.o', 'fortified.o', '--start-group',
    join(crypto, 'libmirage_crypto_stubs.a'), join(cstruct, 'libcstruct_stubs.a'), join(guestFile('ocaml')!, 'libasmrun.a'), join(guestFile('musl')!, 'libc.a'), '--end-group',
  )
  // Its names are its own: mini has some of the same.
  run('objcopy', '--keep-global-symbol=__libc_start_main', '--keep-global-symbol=main', 'unikernel.o')
  const { path, reason } = buildMini('pvh', { more: ['test/guests/unikernel/system.c'], objects: [join(folder, 'unikernel.o')] })
  if (path === undefined) throw new Error(reason)
  return { kernel: path, native: join(folder, 'native'), remove: () => rmSync(folder, { recursive: true, force: true }) }
}
