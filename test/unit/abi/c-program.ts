/**
 * Writes the C program that asks the compiler what Xen's headers say about everything in our tables, and runs it.
 * Its answer is a flat object: `Layout` -> size, `Layout.field` -> [offset, size, signed], `GROUP.key` -> value.
 *
 * Reference: Debian package libxen-dev.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as abi from '../../../src/abi/index.ts'
import type { Fields, Layout } from '../../../src/util/index.ts'
import { type CStructure, CONSTANTS, GROUPS, STRUCTURES } from './c-names.ts'

/** What the compiler says: a size, a value, or a field's offset, size and whether it is a signed number. */
export type Answers = Record<string, number | string | [offset: number, size: number, signed: boolean]>

/** The headers of everything in our tables. */
export const HEADERS = [
  'xen', 'errno', 'event_channel', 'grant_table', 'memory', 'sched', 'vcpu', 'physdev', 'version', 'features',
  'callback', 'elfnote', 'nmi', 'domctl', 'sysctl', 'trace', 'platform', 'hvm/hvm_op', 'hvm/dm_op', 'hvm/params', 'hvm/hvm_vcpu', 'hvm/save', 'arch-x86/hvm/start_info', 'pmu', 'kexec', 'xenoprof', 'tmem',
  'hypfs', 'argo', 'xsm/flask_op', 'arch-x86/xen-mca', 'io/ring', 'io/console', 'io/xs_wire', 'io/xenbus', 'io/blkif', 'io/netif',
  'io/protocols', 'io/9pfs', 'io/fbif', 'io/kbdif', 'io/libxenvchan',
]

/** Names of blkif.h that get a second, 32-bit life: there, 64-bit numbers are aligned to 4 bytes. */
const BLKIF_NAMES = ['request', 'request_segment', 'request_discard', 'request_indirect', 'response'].flatMap((name) =>
  name === 'request_segment' ? [name] : [name, `${name}_t`])

/** True for what {@link abi} exports as a structure. */
export const isLayout = (value: unknown): value is Layout<Fields> =>
  typeof value === 'object' && value !== null && 'decode' in value

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** The C member that a field stands for. */
export const memberOf = ({ fields }: CStructure, field: string): string => fields?.[field] ?? snakeCase(field)

/** The C name of a constant of a group. */
const constantOf = (group: string, key: string): string => {
  const names = GROUPS[group]
  return names?.names?.[key] ?? `${names?.prefix}${key}`
}

function questions(): string[] {
  return Object.entries(abi).flatMap(([name, value]) => {
    const structure = STRUCTURES[name]
    if (isLayout(value) && structure) {
      const fields = Object.keys(value.fields).map((field) =>
        `FIELD("${name}.${field}", ${structure.c}, ${memberOf(structure, field)})`)
      return [`SIZE("${name}", ${structure.c})`, ...fields]
    }
    if (GROUPS[name]) return Object.keys(value).map((key) => `VALUE("${name}.${key}", ${constantOf(name, key)})`)
    return CONSTANTS[name] ? [`VALUE("${name}", ${CONSTANTS[name]})`] : []
  })
}

/** The program's text. */
export function program(): string {
  return `
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>
#define __XEN_TOOLS__
#define xen_mb() ((void)0)
#define xen_rmb() ((void)0)
#define xen_wmb() ((void)0)
${HEADERS.map((header) => `#include <xen/${header}.h>`).join('\n')}

#pragma pack(push, 4)
#undef __XEN_PUBLIC_IO_BLKIF_H__
#undef DEFINE_RING_TYPES
#define DEFINE_RING_TYPES(name, request, response)
#define __i386__
${BLKIF_NAMES.map((name) => `#define blkif_${name} blkif_x32_${name}`).join('\n')}
#include <xen/io/blkif.h>
${BLKIF_NAMES.map((name) => `#undef blkif_${name}`).join('\n')}
#undef __i386__
#pragma pack(pop)

static void number(const char *key, long long value) { printf(",\\n\\"%s\\": %lld", key, value); }
static void text(const char *key, const char *value) { printf(",\\n\\"%s\\": \\"%s\\"", key, value); }
#define VALUE(key, x) _Generic((x), char *: text, default: number)(key, (x));
#define SIGNED(x) _Generic((x), signed char: 1, short: 1, int: 1, default: 0)
#define SIZE(key, type) number(key, sizeof(type));
#define FIELD(key, type, member) printf(",\\n\\"%s\\": [%zu, %zu, %s]", key, offsetof(type, member), \\
    sizeof(((type *)0)->member), SIGNED(((type *)0)->member) ? "true" : "false");

int main(void) {
printf("{\\"compiler\\": 1");
${questions().join('\n')}
puts("}");
return 0;
}
`
}

/** Why the compiler cannot be asked here; undefined when it can. Where `CI` is `true` nothing may be skipped, so there it throws. */
export function whyNoCompiler(): string | undefined {
  const why = obstacle()
  if (why !== undefined && process.env['CI'] === 'true') throw new Error(`a test cannot run here: ${why}`)
  return why
}

function obstacle(): string | undefined {
  if (!existsSync('/usr/include/xen/xen.h')) return 'no /usr/include/xen: install libxen-dev'
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' })
  } catch {
    return 'no gcc'
  }
  return process.arch === 'x64' ? undefined : 'not on x86-64'
}

/** Compiles and runs the program. */
export function askCompiler(): Answers {
  const folder = mkdtempSync(join(tmpdir(), 'abi-'))
  try {
    writeFileSync(join(folder, 'ask.c'), program())
    execFileSync('gcc', ['-w', '-o', join(folder, 'ask'), join(folder, 'ask.c')])
    const { compiler: _, ...answers } = JSON.parse(execFileSync(join(folder, 'ask'), { encoding: 'utf8' })) as Answers
    return answers
  } finally {
    rmSync(folder, { recursive: true })
  }
}
