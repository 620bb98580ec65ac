/**
 * Fleets: hosts that keep domains running together.
 *
 * @example
 * import { Fleet, FleetAgent, hostMachine, memoryStore } from 'paravirt/fleet'
 * import { Host } from 'paravirt'
 *
 * const store = memoryStore()
 * await new FleetAgent({ store, name: 'anna', machine: hostMachine(await Host.boot({ memory: 96 })) }).start()
 * await new Fleet({ store }).define({ name: 'web', memory: 16 })
 *
 * @module
 */
export { memoryStore } from './store/memory-store.ts'
export type { MemoryConnection, MemoryStore, MemoryStoreOptions } from './store/memory-store.ts'
export { etcdStore } from './store/etcd-store.ts'
export type { EtcdStoreOptions } from './store/etcd-store.ts'
export type {
  ClusterStore, StoreBatch, StoreChange, StoreComparison, StoreEntry, StoreLease, StoreOperation, StoreRange, StoreTransaction, StoreWatchOptions,
} from './store/cluster-store.ts'
export type { FleetClock } from './clock.ts'
export { readRecord, writeRecord } from './plan/fleet-state.ts'
export type { FleetDomain, FleetHost, FleetRecords, FleetState, HostLoad, Ownership } from './plan/fleet-state.ts'
export type { Obstacle } from './plan/place.ts'
export { afterPlan, bearableFailures, planDrain, planPlacement, planRebalance, planRollingRestart } from './plan/plans.ts'
export type { FailureOutlook, Plan, PlanStep, RebalanceOptions, Unplaced } from './plan/plans.ts'
export { Fleet } from './fleet.ts'
export type { CloneOptions, DomainDefinition, FleetEvent, RollingRestartOptions } from './fleet.ts'
export type { FleetView } from './records.ts'
export { FleetAgent } from './agent/agent.ts'
export type { AgentEvent, AgentOptions } from './agent/agent.ts'
export { FencedMachine } from './agent/fenced-machine.ts'
export type { ComingDomain, LeavingDomain, LiveMachine, Machine, MachineFacts } from './agent/fenced-machine.ts'
export { hostMachine } from './agent/host-machine.ts'
export type { HostMachineOptions } from './agent/host-machine.ts'
export { memoryMoves } from './agent/move-network.ts'
export type { MemoryMoves, MoveNetwork, MovePipe } from './agent/move-network.ts'
