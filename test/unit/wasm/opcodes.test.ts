import { describe, expect, test } from 'vitest'
import { ByteSink, Code, LANE, MEMORY, ModuleWriter, PLAIN, VECTOR } from '../../../src/wasm/index.ts'
import type { LaneName, MemoryName, PlainName, ValueType } from '../../../src/wasm/index.ts'

/** Builds a module with one exported function and runs it. */
function run(result: ValueType, body: (code: Code) => void): unknown {
  const module = new ModuleWriter()
  const { index, code } = module.function([], [result])
  body(code)
  module.export('f', index)
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()))
  return (instance.exports['f'] as () => unknown)()
}

/** Types that an instruction takes and gives, by its name, as the specification names them. */
function signature(name: string): { takes: ValueType[]; gives: ValueType | undefined } {
  const [type, op] = name.split('.') as [ValueType, string]
  const vector = (type as string).includes('x') || type === 'v128'
  const conversion = /_(i32|i64|f32|f64)(?:_[su])?$/.exec(op)
  if (!vector) {
    if (conversion !== null) return { takes: [conversion[1] as ValueType], gives: type }
    if (/^(eqz)$/.test(op)) return { takes: [type], gives: 'i32' }
    if (/^(eq|ne|[lg][te])(_[su])?$/.test(op)) return { takes: [type, type], gives: 'i32' }
    const unary = /^(clz|ctz|popcnt|abs|neg|ceil|floor|trunc|nearest|sqrt|extend(8|16|32)_s)$/.test(op)
    return { takes: unary ? [type] : [type, type], gives: type }
  }
  if (/splat$/.test(op)) {
    const scalar = { i8x16: 'i32', i16x8: 'i32', i32x4: 'i32', i64x2: 'i64', f32x4: 'f32', f64x2: 'f64' }[type as string]
    return { takes: [scalar as ValueType], gives: 'v128' }
  }
  if (/^(any_true|all_true|bitmask)$/.test(op)) return { takes: ['v128'], gives: 'i32' }
  if (/^(shl|shr_[su])$/.test(op)) return { takes: ['v128', 'i32'], gives: 'v128' }
  if (op === 'bitselect') return { takes: ['v128', 'v128', 'v128'], gives: 'v128' }
  const unary = /^(not|abs|neg|popcnt|sqrt|ceil|floor|trunc|nearest|extadd|extend|convert|trunc_sat|demote|promote)/
  return { takes: unary.test(op) ? ['v128'] : ['v128', 'v128'], gives: 'v128' }
}

const push: Readonly<Record<ValueType, (code: Code) => void>> = {
  i32: (c) => c.i32(3), i64: (c) => c.i64(3), f64: (c) => c.f64(3), v128: (c) => c.v128(new Uint8Array(16)),
  f32: (c) => {
    c.f64(3)
    c.op('f32.demote_f64')
  },
}

const control = new Set(['unreachable', 'nop', 'else', 'end', 'return', 'drop', 'select'])
const plain = [...Object.keys(PLAIN), ...Object.keys(VECTOR)].filter((name) => !control.has(name)) as PlainName[]

describe('every name', () => {
  test.each(plain)('%s takes and gives what its name says', (name) => {
    const { takes, gives } = signature(name)
    const module = new ModuleWriter()
    const { code } = module.function([], gives === undefined ? [] : [gives])
    for (const type of takes) push[type](code)
    code.op(name)
    expect(() => new WebAssembly.Module(module.finish())).not.toThrow()
  })

  test('no two names are the same opcode', () => {
    const all = [PLAIN, VECTOR, LANE, MEMORY].flatMap((table) => Object.values(table) as number[])
    expect(new Set(all).size).toBe(all.length)
  })

  test.each(Object.keys(LANE) as LaneName[])('%s works on a lane', (name) => {
    const scalar = { i8: 'i32', i1: 'i32', i3: 'i32', i6: 'i64', f3: 'f32', f6: 'f64' }[name.slice(0, 2)] as ValueType
    const module = new ModuleWriter()
    const replace = name.includes('replace')
    const { code } = module.function([], [replace ? 'v128' : scalar])
    push.v128(code)
    if (replace) push[scalar](code)
    code.lane(name, 1)
    expect(() => new WebAssembly.Module(module.finish())).not.toThrow()
  })

  test.each(Object.keys(MEMORY) as MemoryName[])('%s reads or writes', (name) => {
    const type = name.split('.')[0] as ValueType
    const module = new ModuleWriter()
    module.importMemory('env', 'memory')
    const store = name.includes('store')
    const { code } = module.function([], store ? [] : [type])
    code.i32(8)
    if (store) push[type](code)
    code.memory(name, 16)
    expect(() => new WebAssembly.Module(module.finish())).not.toThrow()
  })
})

describe('signed and unsigned are not mixed up', () => {
  const i32 = (a: number, b: number, name: PlainName): unknown => run('i32', (c) => {
    c.i32(a)
    c.i32(b)
    c.op(name)
  })
  test.each<[PlainName, number, number, number]>([
    ['i32.lt_s', -1, 1, 1], ['i32.lt_u', -1, 1, 0], ['i32.gt_s', -1, 1, 0], ['i32.gt_u', -1, 1, 1],
    ['i32.le_s', -1, 1, 1], ['i32.le_u', -1, 1, 0], ['i32.ge_s', -1, 1, 0], ['i32.ge_u', -1, 1, 1],
    ['i32.shr_s', -8, 1, -4], ['i32.shr_u', -8, 1, 0x7fff_fffc], ['i32.div_s', -8, 2, -4], ['i32.div_u', -8, 2, 0x7fff_fffc],
    ['i32.rem_s', -7, 4, -3], ['i32.rem_u', -7, 4, 1], ['i32.rotl', 0x4000_0001, 1, -0x7fff_fffe],
    ['i32.rotr', 3, 1, -0x7fff_ffff], ['i32.sub', 2, 5, -3], ['i32.shl', 1, 33, 2], ['i32.mul', 7, 6, 42],
    ['i32.and', 6, 3, 2], ['i32.or', 6, 3, 7], ['i32.xor', 6, 3, 5],
  ])('%s(%i, %i) is %i', (name, a, b, result) => {
    expect(i32(a, b, name)).toBe(result)
  })

  test('vector comparisons know the sign too', () => {
    const lanes = (name: PlainName): unknown => run('i32', (c) => {
      c.i32(-1)
      c.op('i8x16.splat')
      c.i32(1)
      c.op('i8x16.splat', name, 'i8x16.bitmask')
    })
    expect([lanes('i8x16.lt_s'), lanes('i8x16.lt_u'), lanes('i8x16.gt_s'), lanes('i8x16.gt_u')]).toEqual([0xffff, 0, 0, 0xffff])
  })
})

describe('constants and control', () => {
  test.each([0, 1, -1, 63, 64, -64, -65, 127, 128, 0x7fff_ffff, -0x8000_0000])('i32 constant %i', (value) => {
    expect(run('i32', (c) => c.i32(value))).toBe(value)
  })

  test.each([[0, 0], [1, 0], [0xffff_ffff, 0xffff_ffff], [0, 0x8000_0000], [0xdead_beef, 0x1234_5678]])('i64 constant %i %i', (low, high) => {
    expect(run('i64', (c) => c.i64(low, high))).toBe(BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low)))
  })

  test('a branch names its block, however deep it stands', () => {
    expect(run('i32', (c) => {
      const outer = c.block('i32')
      c.loop()
      c.i32(1)
      c.if()
      c.i32(42)
      c.br(outer)
      c.end()
      c.end()
      c.i32(7)
      c.end()
    })).toBe(42)
  })

  test('br_table chooses by number and falls back', () => {
    const choose = (value: number): unknown => run('i32', (c) => {
      const other = c.block()
      const one = c.block()
      const zero = c.block()
      c.i32(value)
      c.brTable([zero, one], other)
      c.end()
      c.i32(10)
      c.op('return')
      c.end()
      c.i32(11)
      c.op('return')
      c.end()
      c.i32(12)
    })
    expect([choose(0), choose(1), choose(2), choose(-1)]).toEqual([10, 11, 12, 12])
  })

  test('an open block is an error, and released locals are used again', () => {
    const code = new Code(0)
    code.block()
    expect(() => code.writeTo(new ByteSink())).toThrow(/still open/)
    const first = code.local('i32')
    code.release('i32', first)
    expect(code.local('i32')).toBe(first)
    expect(code.local('i64')).not.toBe(first)
  })

  test('LEB128 is as long as it has to be', () => {
    const sink = new ByteSink(1)
    sink.unsigned(624_485)
    sink.signed(-123_456)
    expect([...sink.view()]).toEqual([0xe5, 0x8e, 0x26, 0xc0, 0xbb, 0x78])
  })
})

describe('tables', () => {
  /** A module whose function at slot `slot` of the table gives `value`, and which calls slot 2 of the table. */
  function withTable(slot: number, value: number, place: (module: ModuleWriter) => void): ModuleWriter {
    const module = new ModuleWriter()
    place(module)
    const constant = module.function([], ['i32'])
    constant.code.i32(value)
    module.element(slot, [constant.index])
    const caller = module.function([], ['i32'])
    caller.code.i32(2)
    caller.code.callIndirect(module.type([], ['i32']))
    module.export('second', caller.index)
    return module
  }
  const instantiate = (module: ModuleWriter, env: WebAssembly.ModuleImports = {}): WebAssembly.Exports =>
    new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env }).exports
  const define = (module: ModuleWriter): void => module.table('table', 4)

  test('a function stands at the index that an element gives it', () => {
    const exports = instantiate(withTable(2, 77, define))
    expect((exports['second'] as () => number)()).toBe(77)
    expect((exports['table'] as WebAssembly.Table).length).toBe(4)
  })

  test('an empty place traps', () => {
    expect(() => (instantiate(withTable(3, 77, define))['second'] as () => number)()).toThrow(WebAssembly.RuntimeError)
  })

  test('a module that imports the table of another changes what both call', () => {
    const first = instantiate(withTable(2, 77, define))
    const second = withTable(2, 88, (module) => module.importTable('env', 'table', 4))
    const { second: own } = instantiate(second, { table: first['table'] as WebAssembly.Table })
    expect((own as () => number)()).toBe(88)
    expect((first['second'] as () => number)()).toBe(88)
  })
})
