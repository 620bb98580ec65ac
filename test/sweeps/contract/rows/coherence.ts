import { expect } from 'vitest'
import { checkCoherence, type CoherenceParts } from '../../../../src/hypervisor/checks/coherence.ts'
import type { Host } from '../../../../src/index.ts'
import { NO_TAG, TLB, TLB_LOG } from '../../../../src/machine/cpu/layout/state.ts'
import type { MachineMemory } from '../../../../src/machine/memory/machine-memory.ts'
import { insidesOf } from '../../../../src/toolstack/host/host.ts'
import { ask, type Cell, type ContractRow } from '../cell.ts'

/** The hypervisor's inside, which is no part of its interface: faults are planted there. */
const insideOf = (host: Host): CoherenceParts => (host.hypervisor as unknown as { parts: CoherenceParts }).parts

/** Bytes between the guest's memory and memory that is not its own. */
const FAR = 16 << 20

/** What the checker looks at, and the frames that it finds fault with. */
function look(host: Host): { processors: number; translations: number; found: number[] } {
  const found: number[] = []
  const { processors, translations } = checkCoherence(insideOf(host), { report: (frame) => found.push(frame) })
  return { processors, translations, found }
}

/** Lets each translation of the machine's first processor, which is the guest's, lead so many bytes further; how many there are. */
function lead(host: Host, bytes: number): number {
  const { layout, view } = insidesOf(host).parts.machine.memory as MachineMemory
  const entries = Array.from({ length: (TLB_LOG.offset - TLB.offset) / TLB.entryBytes }, (_, i) => layout.processors + TLB.offset + i * TLB.entryBytes)
  const used = entries.filter((at) => [TLB.read, TLB.write, TLB.execute].some((tag) => view.getUint32(at + tag, true) !== NO_TAG))
  for (const at of used) view.setInt32(at + TLB.delta, view.getInt32(at + TLB.delta, true) + bytes, true)
  return used.length
}

async function busy(cell: Cell): Promise<Host> {
  const host = await cell.boot()
  await ask(await cell.start(host), 'write data/x 1', 'written')
  return host
}

/** What processors remember. */
export const coherence: ContractRow = {
  name: 'coherence checker', holds: 'what its processor remembers leads only to its own memory; the checker looks at it, and finds what is led astray',
  run: async (cell) => {
    const host = await busy(cell)
    const { processors, translations, found } = look(host)
    expect([processors, translations > 5, found]).toEqual([1, true, []])
    const astray = lead(host, -FAR)
    expect(astray).toBeGreaterThan(5)
    expect(look(host).found.length).toBeGreaterThan(5)
    expect(lead(host, FAR)).toBe(astray)
    expect(look(host).found).toEqual([])
  },
  exceptions: {
    TypeScript: {
      why: 'it has no processor that could remember anything',
      shown: async (cell) => {
        const host = await busy(cell)
        expect(look(host)).toEqual({ processors: 0, translations: 0, found: [] })
        expect(() => host.hypervisor.getVcpuContext(host.domain('guest').id, 0)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
      },
    },
  },
}
