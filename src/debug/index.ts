/**
 * Debuggers of guests: GDB's remote protocol over any way for bytes, symbols of a running Linux. `listenGdb` of `paravirt/node` serves it on a TCP port.
 *
 * @example
 * import { Host } from 'paravirt'
 * import { inspectDomain, profile } from 'paravirt/debug'
 *
 * const host = await Host.boot({ memory: 64, dom0Memory: 16 })
 * const domain = await host.createDomain({ name: 'web', memory: 16 })
 * await domain.console.waitFor('mini> ')
 * console.log(profile(host).toText(5), inspectDomain(host, domain).ports)
 *
 * @module
 */
export { serveGdb } from './gdb/serve-gdb.ts'
export type { DebugConnection, DebugOptions } from './gdb/serve-gdb.ts'
export { debugAdapter } from './dap/debug-adapter.ts'
export type { DebugAdapter, DebugAdapterOptions, DebugTarget } from './dap/debug-adapter.ts'
export { kernelSymbols } from './kernel-symbols.ts'
export type { KernelSymbolTable } from './kernel-symbols.ts'
export { classified, coverage } from './coverage/coverage.ts'
export type { CoverageOptions, CoverageRecording, CoveredFunction, NamedBlock } from './coverage/coverage.ts'
export { profile } from './profile/guest-profile.ts'
export type { GuestProfile, ProfileOptions, ProgramSymbols } from './profile/guest-profile.ts'
export type { CodeOwner, FunctionProfile, NamedSample, ProfiledDomain } from './profile/profile-rows.ts'
export { fuzz, fuzzExecutor, minimiseCorpus, runInput } from './fuzz/fuzz.ts'
export { blkfrontTarget, netfrontTarget, xenbusTarget } from './fuzz/frontend-targets.ts'
export type { FrontendTarget } from './fuzz/frontend-targets.ts'
export type { Finding, FindingKind, FuzzExecutor, FuzzFinding, FuzzInput, FuzzOptions, FuzzReport, FuzzSubject, Outcome, SharedRange } from './fuzz/fuzz-types.ts'
export { VirtualMemory } from './memory/virtual-memory.ts'
export type { MemoryControl } from './memory/virtual-memory.ts'
export { traceHost } from './trace/trace-host.ts'
export type { HostTrace, TraceOptions } from './trace/trace-host.ts'
export { TRACE_CATEGORIES } from './trace/trace-events.ts'
export type { TraceCategory, TraceEvent, TraceFilter, TraceRecord } from './trace/trace-events.ts'
export { recordRun } from './history/recorded-run.ts'
export type { LastWrite, PastHost, RecordedRun, RunAccess, RunCall, RunStretch } from './history/recorded-run.ts'
export type { RecordOptions } from './history/recorder.ts'
export { Btf, BTF_KIND } from './btf/btf.ts'
export type { BtfMember, BtfPlace } from './btf/btf.ts'
export { linux } from './linux/linux-view.ts'
export type { LinuxModule, LinuxTask, LinuxView } from './linux/linux-view.ts'
export type { LinuxValue } from './linux/typed-values.ts'
export { inspectDomain } from './objects/inspect-domain.ts'
export type { DomainObjects, PageTableOptions } from './objects/inspect-domain.ts'
export { PageTables } from './objects/page-tables.ts'
export type { MappedPage, MappedRegion, PageRights, PageTableSource, PageWalk, PageWalkStep } from './objects/page-tables.ts'
export type { ByteRingHalf, ByteRingView, RingSlot, SharedRing } from './objects/rings.ts'
export { followSystemCalls } from './system-calls/follow-system-calls.ts'
export type { SystemCall, SystemCallArgument, SystemCallFilter, SystemCallTrace } from './system-calls/follow-system-calls.ts'
export type { CallValue } from './system-calls/call-text.ts'
export { explainCrash } from './crash-text/explain-crash.ts'
export type { CrashKind, CrashPlace, ExplainedCrash } from './crash-text/explain-crash.ts'
