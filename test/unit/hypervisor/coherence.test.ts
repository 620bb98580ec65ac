/** What processors remember, against page tables and frame types: each kind of fault is planted and found. */
import { describe, expect, test } from 'vitest'
import { HYPERVISOR, UVMF } from '../../../src/abi/index.ts'
import type { FrameRows } from '../../../src/hypervisor/index.ts'
import { BLOCK } from '../../../src/machine/cpu/layout/record.ts'
import { JUMP, PERMISSION, State, TLB } from '../../../src/machine/cpu/layout/state.ts'
import type { MachineMemory } from '../../../src/machine/memory/machine-memory.ts'
import { Assembler, littleEndian } from '../../fuzz/machine-code.ts'
import { WRITE as ENTRY } from '../../support/hypervisor-host.ts'
import { MachineGuest, MachineHost, TABLES, WINDOWS } from '../../support/machine-host.ts'

const [CODE, DATA, STACK] = [10, 12, 31]

/** mov ecx, [data]; inc dword [data]; jmp to the start: reads, writes and runs. */
const program = (address: number): number[] => [
  0x8b, 0x0c, 0x25, ...word(address), 0xff, 0x04, 0x25, ...word(address), 0xeb, 0xf0,
]
const word = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24]

/** A guest that has run for a while, beside another domain. */
class Scene {
  readonly host = new MachineHost()
  readonly victim = new MachineGuest(this.host)
  readonly guest = new MachineGuest(this.host)
  readonly memory = this.host.machine.memory as MachineMemory
  /** Where the guest's processor lies: the machine's first. */
  readonly base = this.memory.layout.processors

  constructor() {
    const { guest } = this
    guest.load(CODE, program(guest.at(DATA)))
    guest.start(0, { start: guest.at(CODE), trap: guest.at(CODE), stack: guest.at(STACK) })
    this.host.hypervisor.unpauseDomain(guest.domid)
    guest.run(2000)
  }

  /** Byte address of the TLB entry for one of the guest's pages. */
  entry(page: number): number {
    return this.base + TLB.offset + ((this.guest.at(page) >> 12) % TLB.entries) * TLB.entryBytes
  }

  /** Lets the entry for a page lead to another frame. */
  lead(page: number, frame: number): void {
    this.memory.view.setUint32(this.entry(page) + TLB.delta, frame * 4096 - this.guest.at(page), true)
  }

  /** The jump cache's entries that are in use. */
  jumps(): number[] {
    const context = State.context.get(this.memory.view, this.base)
    return Array.from({ length: JUMP.entries }, (_, i) => this.base + JUMP.offset + i * JUMP.entryBytes)
      .filter((entry) => this.memory.view.getUint32(entry + JUMP.context, true) === context)
  }

  /** Takes a page of the guest's away, without a flush. */
  unmap(page: number): void {
    expect(this.guest.call('update_va_mapping', this.guest.at(page), 0, UVMF.NONE)).toBe(0)
  }

  parts(): { frames: { rows: FrameRows; owner: Readonly<Uint16Array> }; domains: { get(id: number): { vcpus: { guest: { flushedAt: number } }[] } } } {
    // The hypervisor's inside is not part of its interface; faults are planted there.
    return (this.host.hypervisor as unknown as { parts: ReturnType<Scene['parts']> }).parts
  }
}

describe('coherence of what processors remember', () => {
  test('a guest that runs is coherent, and something was looked at', () => {
    const scene = new Scene()
    const [processor] = scene.host.processors
    const { translations, jumps } = processor!.inspect()
    expect(translations.find(({ frame }) => frame === scene.guest.frames[DATA])).toMatchObject({ read: true, write: true })
    expect(translations.find(({ frame }) => frame === scene.guest.frames[CODE])).toMatchObject({ write: false, execute: true })
    expect(jumps.length).toBeGreaterThan(0)
    expect(processor!.inspectCode().blocks).toBeGreaterThan(0)
    expect(scene.host.problems()).toEqual([])
  })

  test('a stale translation is lawful while the frame is its owner\'s, and while it waits for a flush', () => {
    const scene = new Scene()
    const mfn = scene.guest.frames[DATA]!
    const held = (): boolean => scene.host.processors[0]!.inspect().translations.some(({ frame, write }) => frame === mfn && write)
    scene.unmap(DATA)
    expect([held(), scene.host.problems()]).toEqual([true, []])
    scene.host.hypervisor.releaseFrames(scene.guest.domid, [mfn])
    expect([held(), scene.host.problems()]).toEqual([true, []])
    const { hypervisor } = scene.host
    const next = hypervisor.createDomain({ kind: 'pv', maxPages: 1 })
    expect(hypervisor.domainInfo(next).sharedInfoFrame, 'the frame that was freed last is the next to be given').toBe(mfn)
    expect([held(), scene.host.problems()]).toEqual([false, []])
  })

  const plants: readonly (readonly [name: string, plant: (scene: Scene) => void, found: RegExp])[] = [
    ['leads to another domain\'s frame', (s) => s.lead(DATA, s.victim.frames[3]!), /leads to a frame of domain 0/],
    ['leads to the machine\'s own memory', (s) => s.lead(DATA, 5), /outside of all guests/],
    ['writes a page table', (s) => s.lead(DATA, s.guest.frames[TABLES.l1]!), /writes a frame of type 1/],
    ['writes the machine-to-physical table', (s) => {
      s.lead(DATA, s.parts().frames.owner.indexOf(0x7ff2))
    }, /leads to a frame of domain 32754/],
    ['is in no log of the next flush', (s) => State.logCount.set(s.memory.view, s.base, 0), /found by no flush/],
    ['writes decoded code', (s) => {
      s.memory.view.setBigUint64(s.entry(CODE) + TLB.write, BigInt(s.guest.at(CODE)), true)
    }, /lets code be written unseen/],
    ['writes a watched frame', (s) => s.memory.watchWrites(s.guest.frames[DATA]!), /watched frame be written unseen/],
    ['stands in another page\'s place', (s) => {
      for (const tag of [TLB.read, TLB.write, TLB.execute]) {
        s.memory.view.setBigUint64(s.entry(DATA) + tag, BigInt(s.guest.at(STACK)), true)
      }
    }, /no look-up finds it/],
    ['is put together of two pages', (s) => {
      s.memory.view.setBigUint64(s.entry(DATA) + TLB.read, BigInt(s.guest.at(DATA) + 0x40_0000), true)
    }, /one of several pages/],
    ['outlives the stamp of its frame', (s) => {
      s.unmap(DATA)
      s.host.hypervisor.releaseFrames(s.guest.domid, [s.guest.frames[DATA]!])
      s.parts().frames.rows.setStamp(s.guest.frames[DATA]!, 0)
    }, /free frame that waits for no flush/],
    ['writes a frame whose use has ended, and whose stamp is too old', (s) => {
      s.unmap(DATA)
      s.parts().frames.rows.setStamp(s.guest.frames[DATA]!, 0)
    }, /writes a frame that waits for no flush/],
    ['belongs to a processor that flushes pass by', (s) => {
      s.parts().domains.get(s.guest.domid).vcpus[0]!.guest.flushedAt = Infinity
    }, /not reached by flushes/],
    ['comes from other page tables', (s) => State.root.set(s.memory.view, s.base, s.victim.frames[TABLES.l4]! * 4096), /another top-level table/],
    ['was made with the rights of ring 0', (s) => {
      State.permissions.set(s.memory.view, s.base, State.permissions.get(s.memory.view, s.base) & ~PERMISSION.USER)
    }, /more than a guest's rights/],
    ['is a jump of a later generation', (s) => {
      const [entry] = s.jumps()
      s.memory.view.setUint32(entry! + JUMP.context, s.memory.view.getUint32(entry! + JUMP.context, true) + 0x500, true)
    }, /comes into use unasked/],
    ['is a jump to a block that is gone', (s) => {
      s.memory.view.setUint32(s.jumps()[0]! + JUMP.block, s.memory.layout.recordCacheEnd - 4096, true)
    }, /dropped/],
    ['is a jump of before a flush that would be taken to a block that is gone', (s) => {
      const [entry] = s.jumps()
      s.memory.view.setUint32(entry! + JUMP.context, s.memory.view.getUint32(entry! + JUMP.context, true) - 0x100, true)
      s.memory.view.setUint32(entry! + JUMP.block, s.memory.layout.recordCacheEnd - 4096, true)
    }, /would be taken again/],
    ['is a jump to another domain\'s code', (s) => {
      const block = s.memory.view.getUint32(s.jumps()[0]! + JUMP.block, true)
      s.parts().frames.rows.setOwner(s.memory.view.getUint32(block + BLOCK.physical, true) >>> 12, s.victim.domid)
    }, /\(--x\) leads to a frame of domain 0/],
    ['is code of other bytes', (s) => {
      s.memory.bytes[s.guest.place(CODE, 14)]! ^= 1
    }, /differs from the bytes/],
    ['is code that nobody watches', (s) => {
      s.memory.words.fill(0, (s.memory.layout.codeLines >> 2) + s.guest.frames[CODE]! * 2, (s.memory.layout.codeLines >> 2) + s.guest.frames[CODE]! * 2 + 2)
    }, /is not watched/],
  ]
  test.each(plants)('one that %s is found', (_, plant, found) => {
    const scene = new Scene()
    plant(scene)
    expect(scene.host.problems().join('\n')).toMatch(found)
  })

  test('present entries carry USER', () => {
    const scene = new Scene()
    scene.memory.words[scene.guest.frames[TABLES.l1]! * 1024 + (scene.guest.at(20) >> 12) * 2]! &= ~4
    expect(scene.host.problems().join('\n')).toMatch(/lacks USER/)
  })

  test('a branch leads on in its own frame, also where the page was remapped while its block ran', () => {
    const host = new MachineHost()
    const guest = new MachineGuest(host)
    const [page, alias] = [WINDOWS[0], WINDOWS[2]]
    // mov rdi, alias; mov al, [rdi]; test ecx, ecx; je over the ret; ret; mov eax, number; ret
    const body = (number: number): number[] =>
      [...new Assembler(page).set('rdi', alias).raw(0x8a, 0x07, 0x85, 0xc9, 0x74, 0x01, 0xc3, 0xb8, number, 0, 0, 0, 0xc3).bytes]
    guest.load(20, body(1))
    guest.load(21, body(2))
    guest.poke(guest.frames[TABLES.window]!, 0, guest.frames[20]!, ENTRY)
    const code = new Assembler(guest.at(CODE))
    const visit = (frame: number, flush: number, ecx: number): void => {
      code.hypercall(HYPERVISOR.update_va_mapping, page, guest.frames[frame]! * 4096 + ENTRY, flush)
      code.set('rax', page).raw(0xb9, ecx, 0, 0, 0, 0xff, 0xd0)
    }
    visit(21, UVMF.TLB_FLUSH, 0)
    visit(20, UVMF.TLB_FLUSH, 1)
    visit(20, UVMF.NONE, 1)
    // No flush: the first frame's code goes on running, until its own read takes its translation's place.
    visit(21, UVMF.NONE, 0)
    visit(20, UVMF.TLB_FLUSH, 0)
    guest.load(CODE, code.raw(0x89, 0x04, 0x25, ...littleEndian(guest.at(DATA), 4), 0xeb, 0xfe).bytes)
    guest.start(0, { start: guest.at(CODE), trap: guest.at(CODE), stack: guest.at(STACK) })
    host.hypervisor.unpauseDomain(guest.domid)
    guest.run(5000)
    expect(host.machine.memory.words[guest.frames[DATA]! * 1024]).toBe(1)
    expect(host.problems()).toEqual([])
  })
})
