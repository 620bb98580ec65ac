/**
 * Xen as a library. This is what most users need: a host, its domains, and what they say. Each layer is a subpath of
 * its own (`paravirt/hypervisor`, `paravirt/xenstore`, `paravirt/guest`, ...).
 *
 * @example
 * import { Host } from 'paravirt'
 *
 * const host = await Host.boot({ memory: 64, dom0Memory: 16 })
 * const domain = await host.createDomain({ name: 'hello', memory: 16 })
 * await domain.console.waitFor('mini> ')
 * await host.shutdown()
 *
 * @module
 */
export {
  Bitmap, ERROR_CODES, ManualClock, SeededRandom, XenError, domId, eventPort, gfn, grantHandle, grantRef, mfn, parseDuration, part, pfn, shape,
  vcpuId,
} from './util/index.ts'
export type {
  Branded, Clock, ErrorCodeFacts, DomId, Duration, DurationBounds, DurationParts, EventBase, EventFilter, EventNames, EventOf, EventPort, EventSource, EventStamp, EventsLost,
  Gfn, GrantHandle, GrantRef, Mfn, Part, PartFacts, Pfn, Quiescible, Random, RandomState, Rewind, Savable, SavedPart, SavedTree, Shape, StateArray,
  StateOf, StateValue, Stateful, StreamOptions, VcpuId, XenErrorCode, XenErrorDetails,
} from './util/index.ts'
export {
  TRAVELLING,
  Catalogue,
  balloonDom0,
  openMetrics,
  CpuPool,
  CpuPools,
  Domain,
  DomainConsole,
  Host,
  Moment,
  chainDifference,
  MemoryFiles,
  UnpackedKernels,
  embeddedKernel,
  formatDomainList,
  formatDescription,
  connectHost,
  narrow,
  portTransport,
  serveHost,
  parseDescription,
  parseGrubConf,
  transportPair,
} from './toolstack/index.ts'
export type {
  Action, Actions, CatalogueChange, CatalogueEntry, CatalogueHost, CatalogueStore, DefinedDomain, DefineOptions, StartResult, DiskLimits, DeviceCounters, DomainStatistics, HostFacts, HostStatistics, OpenMetricsOptions, StatisticsOptions, WatchStatisticsOptions, DumpCoreOptions, DumpCoreProgress, DomainMemorySummary, MemoryAmount, MemoryChange, MemoryDomain, MemoryPolicy, MemoryView, AffinityWish, ControlEvent, OperationEvent, OperationFacts, CpuPoolOptions, CpuPoolReference, DomainScheduling, Trigger, VcpuSummary, BootDescription, BootWarning, ByteInput, ByteOutput, ByteSink, ClockKind, ConfigWarning,
  ConfigWarningReason,
  ConsoleTextOptions, CoreOpener, CoreSubject, CrashCall, CrashException, CrashInstruction, CreateOptions, CreateProgress,
  ChannelConfig, ChannelDescription, DeviceStateChange, ExpectOptions, FoundLine, LinePattern, LinePatterns, DiskConfig, DiskDescription, DiskError, DomainConfig, DomainCrash, DomainOptions, IdleDomain,
  Dom0BootOptions, Dom0Image, Dom0Services, DomainReference, DomainSummary, FileReader, HostCapabilities, HostEvent, HostOptions, KernelSource, MaximumProgress, MemoryProgress,
  MigrateOptions, MigrateProgress, MigrationSummary, ConnectOptions, MigrationTransport, Narrowing, PortLike, Remote, RemoteArgument, RemoteArguments, Remotely, StampedEvent, Travels, Members, RemoteCatalogue, RemoteConsole, RemoteCpuPool, RemoteCpuPools, RemoteDomain, RemoteEvents, RemoteHost, RemoteMoment, RemoteValue, ServedCall, ServedSubject, Travelling,
  ServedConnection, ServeOptions, ServiceTransport, NicConfig, NicDescription, Operation, OperationOptions, OperationStep,
  DomainProfile, HostProfile, ReceiveOptions, ReceiveProgress, RestoreDomainOptions, RestoreProgress, SaveOptions, SaveProgress, SetVcpusOptions,
  CallbackFailure, CallbackName, CheckpointOptions, CheckpointProgress, DestructionReason, DetachOptions, DiskOpenRequest, DiskOpener, DiskOrigin, FolderConfig, FolderDescription, FramebufferConfig, FramebufferDescription, KeyboardConfig, KeyboardDescription, Screen, ScreenButton, FolderOpenRequest, FolderOpener, Networks, DomainEnd, StreamPermissions, StreamTrust,
  ShutdownProgress, SoftResetProgress, ShutdownReasonName, SyntaxNote, UntilOptions, VcpuProgress, WaitForOptions,
} from './toolstack/index.ts'
export { speedscopeProfile } from './machine/index.ts'
export type {
  CompilerFigures, CompilerOptions, NamedProfile, ProcessorProfile, ProfileSample, RegionProfile, SpeedscopeFile,
  Trace, TraceAnswer, TraceHooks, TracedAccess, TracedException, TracedInstruction, WatchedBytes,
} from './machine/index.ts'
export type { AccessFacts, HypercallClass, Policy, PolicyChoice, PolicyDomain, SharingHook } from './hypervisor/index.ts'
export { GuestKernel } from './guest/index.ts'
export type { GuestProgram } from './guest/index.ts'
