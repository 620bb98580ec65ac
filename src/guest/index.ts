/**
 * The kit for a guest kernel in TypeScript: boot, event loop, frames, ports, grants, console, XenStore, balloon,
 * shutdown.
 *
 * @example
 * import { Host, type GuestProgram } from 'paravirt'
 *
 * const kernel: GuestProgram = async (kernel) => {
 *   await kernel.sleep('1s')
 *   kernel.console?.log(`hello from domain ${kernel.domid}`)
 * }
 * const host = await Host.boot({ memory: 64, dom0Memory: 16 })
 * await host.createDomain({ name: 'mine', memory: 8, kernel })
 *
 * @module
 */
export { RateLimit, rateLimitState } from './rate-limit.ts'
export type { Rate, RateLimitState, RateServices } from './rate-limit.ts'
export type {
  GrantCopy, GrantCopySide, GrantMapping, HypercallPort, MappedGrant,
} from '../abi/index.ts'
export type { BootInfo, BootRing } from './boot-info.ts'
export { COST } from './cost.ts'
export { GuestKernel } from './kernel.ts'
export { kernelState } from './kernel-state.ts'
export type { KernelState } from './kernel-state.ts'
export type { Attachments } from './attachments.ts'
export type { GuestProgram, KernelOptions } from './kernel.ts'
export type { LoopExit, LoopOrder } from './event-loop.ts'
export { TypeScriptRunner } from './runner.ts'
export type { RunnerExit, RunnerOptions } from './runner.ts'
export { FrameAllocator } from './pages.ts'
export type { FramesState, Page } from './pages.ts'
export { EventChannels } from './event-channels.ts'
export type { EventCalls, EventHandler, EventServices } from './event-channels.ts'
export { PendingEvents } from './pending-events.ts'
export type { PortRoom } from './pending-events.ts'
export { Grants, mapForeignPage, mappedPageState } from './grants.ts'
export type { GrantAccess, GrantCalls, MappedPage } from './grants.ts'
export type { Timer } from './timers.ts'
export { CONSOLE_INPUT_LIMIT, CONSOLE_OUTPUT_LIMIT, GuestConsole } from './console.ts'
export type { ConsoleServices, ConsoleState } from './console.ts'
export { Balloon, balloonStep } from './balloon.ts'
export type { BalloonServices, BalloonState } from './balloon.ts'
export { ShutdownControl } from './shutdown-control.ts'
export type { ControlState, ResumeHook, ShutdownHook, ShutdownServices, StateProvider } from './shutdown-control.ts'
export { readOptional } from './store.ts'
export type { GuestStore, StatefulStore, StoreAccess, StoreWatchOptions } from './store.ts'
export { connectStore, connectStoreRing } from './store-client.ts'
export type { StoreServices } from './store-client.ts'
export { parseState, readNumber, readState, switchState } from './xenbus/state.ts'
export { XenbusDevice } from './xenbus/device.ts'
export type { DeviceOptions, XenbusEvent } from './xenbus/device.ts'
export { FrontendDevice } from './xenbus/frontend.ts'
export type { FrontendDriver, FrontendInstance } from './xenbus/frontend.ts'
export { BackendDevice } from './xenbus/backend.ts'
export type { BackendDriver, BackendInstance, DriverState } from './xenbus/backend.ts'
export { BackendBus, FrontendBus } from './xenbus/bus.ts'
export { sharePage } from './xenbus/shared-ring.ts'
export type { SharedPage } from './xenbus/shared-ring.ts'
