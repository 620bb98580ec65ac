/**
 * What other projects import in their tests: dialogues with consoles and proof that nothing leaks. Hosts with virtual
 * time are what `Host.boot` makes unless told otherwise.
 *
 * @module
 */
export { compareResources, resourceSnapshot, withoutLeaks } from './resources.ts'
export type { ResourceSnapshot } from './resources.ts'
export { playConsole } from './console-script.ts'
export type { ConsoleStep } from './console-script.ts'
export { blockStoreContract } from './block-store-contract.ts'
export type { BlockStoreMaker, ContractCheck } from './block-store-contract.ts'
