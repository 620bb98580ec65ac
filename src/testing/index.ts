/**
 * What other projects import in their tests: dialogues with consoles, proof that nothing leaks, the contract of block
 * stores, and what guests, drivers and hypervisors are tested with in parts: a fake hypervisor, a store with a transcript, a
 * scripted processor. Hosts with virtual time are what `Host.boot` makes unless told otherwise. No test runner is needed.
 *
 * @module
 */
export { compareResources, resourceSnapshot, withoutLeaks } from './resources.ts'
export type { ResourceSnapshot } from './resources.ts'
export { playConsole } from './console-script.ts'
export type { ConsoleStep } from './console-script.ts'
export { blockStoreContract } from './block-store-contract.ts'
export type { BlockStoreMaker, ContractCheck } from './block-store-contract.ts'
export { FakeHypervisor } from './fake-hypervisor.ts'
export { FakeDomain } from './fake-domain.ts'
export type { FakeChannel, FakeDomainOptions } from './fake-domain.ts'
export type { GrantUse } from './fake-grants.ts'
export { during } from './during.ts'
export { TestStore } from './test-store.ts'
export { PlainRegisters, ScriptedProcessor } from './scripted-processor.ts'
export type { Step, StepEnd } from './scripted-processor.ts'
export { RawStoreClient, STORE_OPS, StoreHarness, storePacket, transcriptDifferences } from './store-transcript.ts'
export type { ReceivedMessage, StoreHarnessOptions, StoreOp, TranscriptLine } from './store-transcript.ts'
export { Fixture, fixture } from './fixture.ts'
export type { FixtureCache, FixtureOptions } from './fixture.ts'
export { LinuxFixture, linux } from './linux.ts'
export type { LinuxFiles, LinuxOptions } from './linux.ts'
export { LinuxShell } from './linux-shell.ts'
export type { CommandOptions } from './linux-shell.ts'
export { busyboxInitramfs, writeCpio } from './initramfs.ts'
export type { BusyboxDisk, CpioEntry } from './initramfs.ts'
