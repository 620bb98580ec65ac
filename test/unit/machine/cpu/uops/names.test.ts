/** Names of micro-operations and handlers are for people: nothing takes them apart. */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { microTable } from '../../../../../src/machine/cpu/interpreter/compiled.ts'
import { writeInterpreter } from '../../../../../src/machine/cpu/interpreter/module.ts'
import { writeSingles } from '../../../../../src/machine/cpu/interpreter/singles.ts'
import { SHAPES } from '../../../../../src/machine/cpu/layout/record.ts'
import { RecordFields } from '../../../../../src/machine/cpu/lift/record-fields.ts'
import { buildMicroTable } from '../../../../../src/machine/cpu/uops/table.ts'
import { EXIT } from '../../../../../src/machine/index.ts'
import { VECTOR } from '../../../../../src/x86/index.ts'
import { CpuBench } from '../../../../support/cpu.ts'

const CPU = 'src/machine/cpu'
/** Rooms that know micro-operations; decoding and listings read the operand codes of the manual, which are a language. */
const ROOMS = ['uops', 'emit', 'interpreter', 'lift', 'handlers', 'code', 'processor', 'runtime']
const PARSING = /\/\^|\/\.(?:test|exec)\(|\.match\(|RegExp|\.startsWith\(|\.endsWith\(/

describe('names of micro-operations', () => {
  // The table is that of all tests of a process.
  const names = microTable().all.map(({ name }) => name)
  afterEach(() => microTable().all.forEach((micro, number) => Object.assign(micro, { name: names[number] })))

  test('no code parses them', () => {
    const files = ROOMS.flatMap((room) => readdirSync(join(CPU, room)).map((file) => join(CPU, room, file)))
    expect(files.filter((file) => PARSING.test(readFileSync(file, 'utf8')))).toEqual([])
  })

  test('other names give the same code', () => {
    const [usual, renamed] = [buildMicroTable(), buildMicroTable()]
    renamed.all.forEach((micro, number) => Object.assign(micro, { name: `renamed ${number}` }))
    for (const width of [32, 64] as const) {
      expect(Buffer.compare(writeInterpreter(renamed, width), writeInterpreter(usual, width))).toBe(0)
      expect(Buffer.compare(writeSingles(renamed, 'vector', width), writeSingles(usual, 'vector', width))).toBe(0)
    }
  })

  test('with other names programs run, are cut short and fault as ever', () => {
    for (const micro of microTable().all) Object.assign(micro, { name: `renamed ${micro.name}` })
    const bench = new CpuBench()
    let exit = bench.run('mov $5,%ecx; 2: push %rcx; pop %rbx; add %ebx,%eax; cmp $0x63,%eax; je 1f; 1: movd %eax,%xmm0; loop 2b; syscall', 3)
    let { executed } = bench.cpu
    while (exit === EXIT.BUDGET) {
      exit = bench.cpu.run(3)
      executed += bench.cpu.executed
    }
    expect([exit, bench.get('rax'), executed]).toEqual([EXIT.SYSCALL, 15n, 1 + 5 * 7 + 1])
    bench.set('rsp', 1n << 62n)
    expect([bench.run('push %rax'), bench.cpu.exit.vector]).toEqual([EXIT.EXCEPTION, VECTOR.SS])
  })
})

describe('names of record fields', () => {
  const named = Object.entries(SHAPES).flatMap(([shape, fields]) => Object.entries(fields).map(([name, place]) => ({ shape, name, place })))

  test('a name lies at one place in all shapes, and no two of a shape at the same', () => {
    const places = new Map(named.map(({ name, place }) => [name, place]))
    expect(named.filter(({ name, place }) => places.get(name) !== place)).toEqual([])
    for (const fields of Object.values(SHAPES)) expect(new Set(Object.values(fields)).size).toBe(Object.keys(fields).length)
  })

  test.each(named)('lifters set $name of $shape in its byte', ({ name, place }) => {
    const fields = new RecordFields()
    Object.assign(fields, { [name]: 7 })
    expect([fields.first, fields.second, fields.third, fields.fourth].map((value, index) => [index + 2, value]))
      .toEqual([2, 3, 4, 5].map((at) => [at, at === place ? 7 : 0]))
  })
})
