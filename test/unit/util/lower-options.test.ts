/** Layers below the toolstack say what they cannot take, too. */
import { expect, test } from 'vitest'
import { Bridge, CaptureWriter, MemoryBlockStore } from '../../../src/drivers/index.ts'
import { GuestKernel, TypeScriptRunner } from '../../../src/guest/index.ts'
import { Hypervisor } from '../../../src/hypervisor/index.ts'
import { Machine } from '../../../src/machine/index.ts'
import { XenError } from '../../../src/util/index.ts'
import { XenStore, XenStoreServer } from '../../../src/xenstore/index.ts'

/** What a caller in JavaScript can hand over. */
type Given = never

test.each<[string, () => unknown, string]>([
  ['Machine', () => new Machine({ memoryBytes: 1 << 20, procesors: 2 } as Given), 'Machine has no option procesors; did you mean processors?'],
  ['createProcessor', () => new Machine({ memoryBytes: 1 << 20 }).createProcessor({ mode: 'hostd' } as Given), 'createProcessor: mode must be one of "hosted", "bare", "virtualised", got "hostd"; did you mean "hosted"?'],
  ['MemoryBlockStore', () => new MemoryBlockStore(512, { readonly: true } as Given), 'MemoryBlockStore has no option readonly; did you mean readOnly?'],
  ['a disk size', () => new MemoryBlockStore(513), 'a disk of 513 bytes is not a whole number of sectors'],
  ['bridge.open', () => new Bridge({ now: () => 0 }).open({ limit: 0 }), 'bridge.open: limit must be a whole number from 1'],
  ['Bridge', () => new Bridge({ now: () => 0, nmae: 'x' } as Given), 'Bridge has no option nmae; did you mean name?'],
  ['the payload of a bridge', () => new Bridge({ now: () => 0, mtu: 0 }), 'Bridge: mtu must be a whole number from 68 to 65535'],
  ['Hypervisor', () => new Hypervisor({ physicalCpu: 2 } as Given), 'Hypervisor has no option physicalCpu; did you mean physicalCpus?'],
  ['its scheduler', () => new Hypervisor({ scheduler: 'credit3' } as Given), 'Hypervisor: scheduler must be one of '],
  ['its portion', () => new Hypervisor({ portion: 0 } as Given), 'Hypervisor: portion must be a number from 1 to Infinity'],
  ['its boot time', () => new Hypervisor({ bootTime: 5 } as Given), 'Hypervisor: bootTime must be a BigInt, got 5'],
  ['GuestKernel', () => new GuestKernel(undefined as Given, { onCrashed: 1 } as Given), 'GuestKernel has no option onCrashed; did you mean onCrash?'],
  ['the program of a kernel', () => new GuestKernel(undefined as Given, { program: {} } as Given), 'GuestKernel: program must be a function'],
  ['TypeScriptRunner', () => new TypeScriptRunner(undefined as Given, { onboot: 1 } as Given), 'TypeScriptRunner has no option onboot; did you mean onBoot?'],
  ['introduceDomain', () => new XenStoreServer({ store: new XenStore() }).introduceDomain(1, undefined as Given, { resum: true } as Given), 'introduceDomain has no option resum; did you mean resume?'],
  ['a loaded server', () => new XenStoreServer({ store: new XenStore() }).part({ ringof: 1 } as Given), 'XenStoreServer.part has no option ringof; did you mean ringOf?'],
  ['CaptureWriter', () => new CaptureWriter(() => undefined, { snapLength: -1 }), 'CaptureWriter: snapLength must be a whole number'],
  ['XenStore', () => new XenStore({ limits: { node: 5 } } as Given), 'the limits of XenStore has no option node; did you mean nodes?'],
  ['XenStoreServer', () => new XenStoreServer({ store: new XenStore(), onwork: 1 } as Given), 'XenStoreServer has no option onwork; did you mean onWork?'],
  ['addConnection', () => new XenStoreServer({ store: new XenStore() }).addConnection({} as Given, { domid: -1 }), 'addConnection: domid must be a whole number'],
  ['events.stream', () => new XenStore().events.stream({ limit: NaN }), 'events.stream: limit must be a whole number'],
  ['an event', () => new Bridge({ now: () => 0 }).events.on('lerned' as Given, () => undefined), 'there is no event lerned; did you mean learned?'],
])('%s names what is wrong', (_name, work, message) => {
  let thrown: unknown
  try {
    work()
  } catch (error) {
    thrown = error
  }
  expect(XenError.is(thrown, 'INVALID_ARGUMENT')).toBe(true)
  expect((thrown as Error).message).toContain(message)
})
