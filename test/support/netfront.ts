/** The kernel of test/guests/netfront.c, built on mini's sources as mini's Makefile builds them. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { buildNative, type NativeProgram } from './native-build.ts'

const pathOf = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const MINI = 'examples/guests/mini'
const PARTS = ['start.S', 'console.c', 'events.c', 'memory.c', 'text.c', 'traps.c']
const READ = [...PARTS, 'store.c', 'mini.h', 'xen.h', 'text.h', 'link.ld']

/** Builds it, or says why not. */
export function buildNetfront(): NativeProgram {
  const hash = createHash('sha256')
  for (const name of READ) hash.update(readFileSync(pathOf(`${MINI}/${name}`)))
  return buildNative(pathOf('test/guests/netfront.c'), [
    '-std=gnu11', '-Os', '-Wall', '-Wextra', '-Werror', '-Wno-unused-function', '-ffreestanding', '-fno-pic', '-mcmodel=kernel', '-mno-red-zone',
    '-mgeneral-regs-only', '-fno-stack-protector', '-fno-asynchronous-unwind-tables', '-fcf-protection=none', '-fno-tree-loop-distribute-patterns',
    '-nostdlib', '-static', '-no-pie', '-Wl,--build-id=none', '-Wl,-z,max-page-size=4096', '-Wl,-z,noexecstack', '-Wl,--no-warn-rwx-segments',
    `-Wl,-T,${pathOf(`${MINI}/link.ld`)}`, `-I${pathOf(MINI)}`, `-DSOURCES=0x${hash.digest('hex').slice(0, 8)}`,
    ...PARTS.map((name) => pathOf(`${MINI}/${name}`)),
  ])
}
