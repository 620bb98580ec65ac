/**
 * Asks the compiler what Xen's headers say about structures as 32-bit guests have them. Nothing is run, and no library of
 * that width is needed: the answers stand in the assembly that gcc writes for i386.
 * Its answer has the form of c-program.ts's.
 *
 * Reference: Debian package libxen-dev.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import * as abi from '../../../src/abi/index.ts'
import type { Fields, Layout } from '../../../src/util/index.ts'
import { COMPAT_CONSTANTS, COMPAT_GROUPS, COMPAT_STRUCTURES, NATIVE_STRUCTURES, STRUCTURES } from './c-names.ts'
import { type Answers, HEADERS, isLayout, memberOf } from './c-program.ts'

/** The structures that 32-bit guests have, by our names, in their layout. */
export function compatLayouts(): [name: string, layout: Layout<Fields>][] {
  return (Object.entries(abi) as [string, unknown][]).flatMap(([name, value]) => {
    if (!isLayout(value) || name in NATIVE_STRUCTURES) return []
    return [[name, 'compat' in value ? (value.compat as Layout<Fields>) : value]]
  })
}

function questions(): string[] {
  const structures = compatLayouts().flatMap(([name, { fields }]) => {
    const structure = COMPAT_STRUCTURES[name] ?? STRUCTURES[name]!
    const { c } = structure
    return [`SIZE("${name}", ${c})`, ...Object.keys(fields).map((field) => `FIELD("${name}.${field}", ${c}, ${memberOf(structure, field)})`)]
  })
  const groups = Object.entries(COMPAT_GROUPS).flatMap(([name, { prefix }]) =>
    Object.keys(abi[name as keyof typeof abi]).map((key) => `VALUE("${name}.${key}", ${prefix}${key})`))
  return [...structures, ...groups, ...Object.entries(COMPAT_CONSTANTS).map(([name, c]) => `VALUE("${name}", ${c})`)]
}

const program = (): string => `
#include <stdint.h>
#include <stddef.h>
#define __XEN_TOOLS__
#define xen_mb() ((void)0)
#define xen_rmb() ((void)0)
#define xen_wmb() ((void)0)
${HEADERS.map((header) => `#include <xen/${header}.h>`).join('\n')}
#define SIGNED(x) _Generic((x), signed char: 1, short: 1, int: 1, default: 0)
#define VALUE(key, x) asm volatile("ANSWER " key " %c0" :: "i"(x));
#define SIZE(key, type) VALUE(key, sizeof(type))
#define FIELD(key, type, member) asm volatile("ANSWER " key " %c0 %c1 %c2" :: "i"(offsetof(type, member)), \\
    "i"(sizeof(((type *)0)->member)), "i"(SIGNED(((type *)0)->member)));
void answers(void) {
${questions().join('\n')}
}
`

/** Compiles for i386, and reads the answers. */
export function askCompatCompiler(): Answers {
  const assembly = execFileSync('gcc', ['-m32', '-ffreestanding', '-I', join(import.meta.dirname, 'freestanding'), '-w', '-S', '-o', '-', '-x', 'c', '-'], {
    input: program(), encoding: 'utf8', maxBuffer: 16 << 20,
  })
  const answers: Answers = {}
  for (const [, key, first, size, signed] of assembly.matchAll(/ANSWER (\S+) (-?\d+)(?: (\d+) ([01]))?$/gm)) {
    answers[key!] = size === undefined ? Number(first) >>> 0 : [Number(first), Number(size), signed === '1']
  }
  return answers
}
