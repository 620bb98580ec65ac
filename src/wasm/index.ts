/**
 * A small writer of WebAssembly: instructions by name, functions, modules. Knows no x86.
 *
 * @module
 */
export { ByteSink } from './byte-writer.ts'
export { Code, VALUE_TYPE } from './code.ts'
export type { Label, LaneName, MemoryName, PlainName, ValueType } from './code.ts'
export { ModuleWriter } from './module.ts'
export { MEMORY, PLAIN } from './opcodes.ts'
export { LANE, VECTOR } from './vector-opcodes.ts'
