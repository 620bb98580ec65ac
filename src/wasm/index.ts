/**
 * A small writer of WebAssembly: instructions by name, functions, modules; and what the host makes of them. Knows no x86.
 *
 * @module
 */
export { ByteSink } from './byte-writer.ts'
export { Code, VALUE_TYPE } from './code.ts'
export type { Label, LaneName, MemoryName, PlainName, ValueType } from './code.ts'
export { HostRefusal, compile, instantiate } from './host-refusal.ts'
export { ModuleWriter } from './module.ts'
export { MEMORY, PLAIN } from './opcodes.ts'
export { LANE, VECTOR } from './vector-opcodes.ts'
