import { createContext, runInContext } from 'node:vm'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { HostRefusal, ModuleWriter, compile, instantiate } from '../../../src/wasm/index.ts'

const EMPTY = new ModuleWriter().finish()

/** WebAssembly as it is under a policy that forbids to compile. */
const forbidden = (): typeof WebAssembly => runInContext('WebAssembly', createContext({}, { codeGeneration: { strings: true, wasm: false } })) as typeof WebAssembly

afterEach(() => vi.unstubAllGlobals())

describe('a host that does not compile', () => {
  test('is told apart by a typed error with its words', () => {
    vi.stubGlobal('WebAssembly', forbidden())
    expect(() => compile(EMPTY)).toThrow(HostRefusal)
    expect(() => instantiate(EMPTY, {})).toThrow(/the host does not compile WebAssembly: .*disallowed/)
    expect(() => compile(EMPTY)).toThrow(expect.objectContaining({ code: 'NOT_SUPPORTED' }))
  })

  test('has nothing to do with a module that is wrong, nor with an import that is missing', () => {
    expect(() => compile(EMPTY.slice(0, 5))).not.toThrow(HostRefusal)
    expect(() => compile(EMPTY.slice(0, 5))).toThrow(WebAssembly.CompileError)
    const module = new ModuleWriter()
    module.importMemory('env', 'memory')
    expect(() => instantiate(module.finish(), { env: {} })).toThrow(WebAssembly.LinkError)
    vi.stubGlobal('WebAssembly', forbidden())
    expect(() => compile(EMPTY.slice(0, 5))).not.toThrow(HostRefusal)
  })

  test('has no memory left', () => {
    const spy = vi.spyOn(WebAssembly, 'Module').mockImplementation(function full(): never { throw new RangeError('Out of memory') })
    expect(() => compile(EMPTY)).toThrow(/the host does not compile WebAssembly: Out of memory/)
    spy.mockRestore()
    expect(Object.keys(instantiate(EMPTY, {}))).toEqual([])
  })
})
