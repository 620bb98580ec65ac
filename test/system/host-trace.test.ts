/** Traces of a host, and their file for Perfetto, read by another library by the fields that Perfetto's schema has. */
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import { traceHost, type TraceRecord } from '../../src/debug/index.ts'
import { BlockFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { Host, type Domain } from '../../src/toolstack/index.ts'

const SCHEMA = `syntax = "proto2";
message Trace { repeated TracePacket packet = 1; }
message TracePacket { optional uint64 timestamp = 8; optional uint32 trusted_packet_sequence_id = 10; optional TrackEvent track_event = 11; optional uint32 sequence_flags = 13; optional TrackDescriptor track_descriptor = 60; }
message TrackDescriptor { optional uint64 uuid = 1; optional string name = 2; optional Process process = 3; optional Thread thread = 4; optional uint64 parent_uuid = 5; optional Counter counter = 8; }
message Process { optional int32 pid = 1; optional string process_name = 6; }
message Thread { optional int32 pid = 1; optional int32 tid = 2; optional string thread_name = 5; }
message Counter { optional int32 type = 1; }
message TrackEvent { repeated DebugAnnotation debug_annotations = 4; optional int32 type = 9; optional uint64 track_uuid = 11; repeated string categories = 22; optional string name = 23; optional int64 counter_value = 30; }
message DebugAnnotation { optional bool bool_value = 2; optional uint64 uint_value = 3; optional int64 int_value = 4; optional string string_value = 6; optional uint64 pointer_value = 7; optional string name = 10; }`
const Trace = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType('Trace')

interface Packet {
  readonly timestamp?: number
  readonly trusted_packet_sequence_id: number
  readonly track_descriptor?: { readonly uuid: number; readonly name?: string; readonly parent_uuid?: number; readonly process?: { readonly process_name: string }; readonly thread?: { readonly thread_name: string; readonly pid: number } }
  readonly track_event?: { readonly type: number; readonly track_uuid: number; readonly name?: string; readonly categories?: readonly string[]; readonly debug_annotations?: readonly { readonly name: string }[] }
}
const packetsOf = (file: Uint8Array): readonly Packet[] => (Trace.toObject(Trace.decode(file), { longs: Number, defaults: false }) as { readonly packet: readonly Packet[] }).packet

async function ask(domain: Domain): Promise<void> {
  await domain.console.write('mem\r')
  await domain.console.waitFor(/disagree/)
}

async function mini(): Promise<{ readonly host: Host; readonly domain: Domain }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const domain = await host.createDomain({ name: 'mini', memory: 8 })
  await domain.console.waitFor('tick 3')
  return { host, domain }
}

test('tells hypercalls with their arguments, what guests see of exits, scheduling, events, and XenStore, in the order of time', { timeout: 60_000 }, async () => {
  const { host, domain } = await mini()
  const trace = traceHost(host)
  await ask(domain)
  host.store.write('/local/domain/1/data', 'traced')
  trace.stop()
  const records = trace.records()
  const names = new Set(records.map(({ name }) => name))
  expect([...['sched_op block', 'event_channel_op send', 'upcall', 'switch', 'block', 'store write'].filter((name) => !names.has(name))]).toEqual([])
  expect(records.find(({ name }) => name === 'sched_op block')).toMatchObject({ type: 'hypercall', domid: 1, vcpu: 0, details: { operation: 1n, result: 0 } })
  expect(records.find(({ name }) => name === 'store write')).toMatchObject({ domid: 0, details: { path: '/local/domain/1/data' } })
  expect(records.every(({ time }, i) => i === 0 || time >= records[i - 1]!.time)).toBe(true)
  const count = trace.records().length
  await ask(domain)
  expect(trace.records().length).toBe(count)
  await host.shutdown()
})

test('its file has a track for each domain and vCPU, and slices while one runs', { timeout: 60_000 }, async () => {
  const { host, domain } = await mini()
  const trace = traceHost(host)
  await ask(domain)
  trace.stop()
  const packets = packetsOf(trace.toPerfetto())
  const tracks = new Map(packets.flatMap(({ track_descriptor: track }) => (track === undefined ? [] : [[track.uuid, track] as const])))
  expect([...tracks.values()].map(({ process, thread, name }) => process?.process_name ?? thread?.thread_name ?? name)).toEqual(expect.arrayContaining(['mini', 'vCPU 0', 'XenStore'].slice(0, 2)))
  const events = packets.flatMap(({ track_event: event, timestamp }) => (event === undefined ? [] : [{ ...event, timestamp }]))
  expect(events.every(({ track_uuid: track }) => tracks.has(track))).toBe(true)
  expect(events.length).toBeGreaterThanOrEqual(trace.records().length - 10)
  const open = new Map<number, number>()
  for (const { type, track_uuid: track } of events) {
    if (type === 1) open.set(track, (open.get(track) ?? 0) + 1)
    if (type === 2) open.set(track, (open.get(track) ?? 0) - 1)
    expect([0, 1, undefined]).toContain(open.get(track))
  }
  expect([...open.values()].every((depth) => depth === 0)).toBe(true)
  const call = events.find(({ name }) => name === 'sched_op block')!
  expect(call.debug_annotations!.map(({ name }) => name)).toEqual(['operation', 'argument', 'result'])
  expect(call.categories).toEqual(['hypercall'])
  await host.shutdown()
})

test('filters leave the rest out, readers have it live, and a reset leaves it on', { timeout: 60_000 }, async () => {
  const { host, domain } = await mini()
  const moment = await host.checkpoint()
  const trace = traceHost(host, { categories: ['hypercall'], domains: [1], names: ['sched_op'], keep: 1 })
  const live: TraceRecord[] = []
  const stop = new AbortController()
  const reading = (async () => {
    for await (const record of trace.events.stream({ signal: stop.signal })) if (record.type !== 'events-lost') live.push(record)
  })()
  await ask(domain)
  await host.reset(moment)
  const before = live.length
  await ask(host.domain('mini'))
  stop.abort()
  await reading
  expect(before).toBeGreaterThan(0)
  expect(live.length).toBeGreaterThan(before)
  expect(new Set(live.map(({ name }) => name.split(' ')[0]))).toEqual(new Set(['sched_op']))
  expect(trace.records()).toEqual(live.slice(-1))
  expect(trace.dropped).toBe(live.length - 1)
  trace.stop()
  trace.stop()
  await host.shutdown()
})

test("what devices have been asked for is told as counters' changes", { timeout: 60_000 }, async () => {
  const reader: GuestProgram = async (kernel) => {
    const disks = new BlockFrontend()
    await new FrontendBus(kernel).register(disks)
    const disk = await disks.disk(51712)
    for (let i = 0; i < 4; i += 1) {
      await disk.read(0, 8)
      await kernel.sleep('2ms')
    }
    kernel.console!.log('read')
  }
  const host = await Host.boot({ memory: 64, dom0Memory: 16, openDisk: () => new MemoryBlockStore(1 << 16) })
  const trace = traceHost(host)
  const domain = await host.createDomain({ name: 'reader', memory: 8, disks: ['any,raw,xvda,w'], kernel: reader })
  await domain.console.waitFor('read')
  trace.stop()
  const counted = trace.records().filter(({ device, details }) => device?.startsWith('vbd') === true && 'value' in details)
  expect(counted.map(({ name }) => name)).toContain('sectorsRead')
  expect(trace.records().some(({ name, device }) => name === 'device-state' && device !== undefined)).toBe(true)
  const counters = packetsOf(trace.toPerfetto()).filter(({ track_event: event }) => event?.type === 4)
  expect(counters.length).toBe(counted.length)
  await host.shutdown()
})

test('what cannot be traced is refused', { timeout: 60_000 }, () => {
  const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT' })
  expect(() => traceHost(undefined as never)).toThrow(refused)
})
