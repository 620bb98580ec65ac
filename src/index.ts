/**
 * Xen as a library. This is what most users need: a host, its domains, and what they say. Each layer is a subpath of
 * its own (`paravirt/hypervisor`, `paravirt/xenstore`, `paravirt/guest`, ...).
 *
 * @module
 */
export {
  Bitmap, ManualClock, SeededRandom, XenError, domId, eventPort, gfn, grantHandle, grantRef, mfn, parseDuration, part, pfn, shape,
  vcpuId,
} from './util/index.ts'
export type {
  Branded, Clock, DomId, Duration, DurationBounds, DurationParts, EventBase, EventOf, EventPort, EventSource, EventStamp, EventsLost,
  Gfn, GrantHandle, GrantRef, Mfn, Part, PartFacts, Pfn, Quiescible, Random, RandomState, Savable, SavedPart, SavedTree, Shape, StateArray,
  StateOf, StateValue, Stateful, StreamOptions, VcpuId, XenErrorCode, XenErrorDetails,
} from './util/index.ts'
export {
  Domain,
  DomainConsole,
  Host,
  Moment,
  MemoryFiles,
  UnpackedKernels,
  embeddedKernel,
  formatDomainList,
  formatDescription,
  parseDescription,
  parseGrubConf,
  transportPair,
} from './toolstack/index.ts'
export type {
  Action, Actions, BootDescription, BootWarning, ByteInput, ByteOutput, ByteSink, ClockKind, ConfigWarning,
  ConfigWarningReason,
  ConsoleTextOptions, CoreOpener, CoreSubject, CrashCall, CrashException, CrashInstruction, CreateOptions, CreateProgress,
  DeviceStateChange, DiskConfig, DiskDescription, DiskError, DomainConfig, DomainCrash, DomainOptions, IdleDomain,
  DomainReference, DomainSummary, FileReader, HostCapabilities, HostEvent, HostOptions, KernelSource, MaximumProgress, MemoryProgress,
  MigrateOptions, MigrateProgress, MigrationSummary, MigrationTransport, NicConfig, NicDescription, Operation, OperationOptions,
  DomainProfile, HostProfile, ReceiveOptions, ReceiveProgress, RestoreDomainOptions, RestoreProgress, SaveOptions, SaveProgress, SetVcpusOptions,
  CallbackFailure, CallbackName, DestructionReason, DetachOptions, DiskOpenRequest, DiskOpener, DiskOrigin, DomainEnd, StreamPermissions, StreamTrust,
  ShutdownProgress, ShutdownReasonName, SyntaxNote, UntilOptions, VcpuProgress, WaitForOptions,
} from './toolstack/index.ts'
export { speedscopeProfile } from './machine/index.ts'
export type {
  CompilerFigures, CompilerOptions, NamedProfile, ProcessorProfile, ProfileSample, RegionProfile, SpeedscopeFile,
  Trace, TraceAnswer, TraceHooks, TracedAccess, TracedException, TracedInstruction,
} from './machine/index.ts'
export { GuestKernel } from './guest/index.ts'
export type { GuestProgram } from './guest/index.ts'
