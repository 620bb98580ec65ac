/**
 * What is left of a crash: the report as data, and Xen's own lines on the console, whose form is that of the format strings
 * of Xen 4.17 (traps.c, x86_64/traps.c, domain.c).
 */
import { describe, expect, test } from 'vitest'
import { SHUTDOWN } from '../../../../src/abi/index.ts'
import type { CrashReport } from '../../../../src/hypervisor/index.ts'
import { EXIT } from '../../../../src/machine/index.ts'
import { GPR, PAGE_FAULT, VECTOR } from '../../../../src/x86/index.ts'
import { BASE, PvGuest } from '../../../support/pv-guest.ts'
import type { StepEnd } from '../../../../src/testing/index.ts'

const PAGE_FAULT_EXIT: StepEnd = {
  reason: EXIT.EXCEPTION, vector: VECTOR.PF, errorCode: PAGE_FAULT.USER | PAGE_FAULT.WRITE, address: 0x10,
}

/** A guest that ends with a step's exit at a place in its first frame. */
function crash(end: StepEnd, prepare: (guest: PvGuest) => void = () => undefined, rip = BASE + 0x100) {
  const guest = PvGuest.boot()
  prepare(guest)
  guest.run((registers) => {
    registers.setRip(rip >>> 0, Math.floor(rip / 2 ** 32) >>> 0)
    return end
  })
  const { hypervisor } = guest.host
  return { guest, report: hypervisor.crashReport(guest.domid) as CrashReport, console: hypervisor.readConsole() }
}

describe('the report of a crash', () => {
  test('says what happened, in which mode, and holds registers, code and stack', () => {
    const { report } = crash(PAGE_FAULT_EXIT, (guest) => {
      guest.view.setUint32(guest.place(0, 0x100), 0xddccbbaa)
      guest.view.setBigUint64(guest.place(31), 0x1234n, true)
    })
    expect(report).toMatchObject({
      vcpu: 0, origin: 'hypervisor', reason: 'page fault: write to 0x10 from kernel mode; the guest has no handler for it',
      exception: { vector: VECTOR.PF, address: 0x10, rip: BASE + 0x100, fromUser: false },
    })
    expect(report.state).toMatchObject({ cr2: 0x10n, inKernel: true, eventsMasked: expect.any(Boolean) })
    expect(report.state?.code?.bytes.subarray(0, 4)).toEqual(Uint8Array.of(0xdd, 0xcc, 0xbb, 0xaa))
    expect(report.state?.code?.before).toHaveLength(8)
    expect(report.state?.stack.words[0]).toBe(0x1234n)
  })

  test('tells a missing handler from a missing stack', () => {
    const guest = PvGuest.boot({ traps: [{ vector: VECTOR.UD, flags: 0, cs: 0xe033, address: 0x3000n }] })
    guest.run((registers) => {
      registers.set(GPR.rsp, 0x500, 0)
      return { reason: EXIT.EXCEPTION, vector: VECTOR.UD }
    })
    const report = guest.host.hypervisor.crashReport(guest.domid)
    expect(report?.reason).toBe('invalid opcode in kernel mode; there is no stack for its handler')
    expect(report?.state?.stack).toEqual({ address: 0x500, words: [], isCut: true })
  })

  test('of a guest that ends itself holds the exception that it took last', () => {
    const guest = PvGuest.boot({ traps: [{ vector: VECTOR.DE, flags: 0, cs: 0xe033, address: 0x3000n }] })
    guest.run((registers) => {
      registers.setRip(BASE + 0x20, 0)
      return { reason: EXIT.EXCEPTION, vector: VECTOR.DE }
    })
    guest.view.setUint32(guest.place(1), SHUTDOWN.crash, true)
    guest.hypercall('sched_op', 2, guest.at(1))
    const report = guest.host.hypervisor.crashReport(guest.domid)
    expect(report).toMatchObject({ origin: 'guest', exception: { vector: VECTOR.DE, rip: BASE + 0x20 } })
    expect(guest.host.hypervisor.readConsole()).toContain(`(XEN) Domain ${guest.domid} (vcpu#0) reported its own crash on cpu#0:`)
  })

  test('names the vCPU that it happened on', () => {
    const guest = PvGuest.boot({}, { physicalCpus: 2 })
    const { hypervisor } = guest.host
    hypervisor.setVcpuContext(guest.domid, 1, PvGuest.context(guest.l4))
    guest.processors[1]!.script.push(() => PAGE_FAULT_EXIT)
    for (let turn = 0; turn < 4; turn += 1) hypervisor.run({ instructions: 2000 })
    expect(hypervisor.crashReport(guest.domid)).toMatchObject({ vcpu: 1, exception: { vector: VECTOR.PF } })
    expect(hypervisor.readConsole()).toContain(`(XEN) Domain ${guest.domid} (vcpu#1) crashed on cpu#1:`)
  })

  test('exists for a domain that is ended from outside, and goes when the domain is resumed', () => {
    const guest = PvGuest.boot()
    const { hypervisor } = guest.host
    expect(hypervisor.crashReport(guest.domid)).toBeUndefined()
    hypervisor.shutdownDomain(guest.domid, SHUTDOWN.poweroff)
    expect(hypervisor.crashReport(guest.domid)).toBeUndefined()
    hypervisor.resumeDomain(guest.domid)
    hypervisor.shutdownDomain(guest.domid, 77)
    expect(hypervisor.crashReport(guest.domid)).toMatchObject({ origin: 'outside', vcpu: 0 })
    hypervisor.resumeDomain(guest.domid)
    expect(hypervisor.crashReport(guest.domid)).toBeUndefined()
  })

  test('is taken whatever the guest left in its registers', () => {
    const nowhere: readonly (readonly [number, number])[] = [
      [0, 0], [0xffff_ffff, 0xffff_ffff], [0xffff_fff9, 0x7fff], [0, 0x8000], [0, 0xffff_8000], [BASE + 0x1fffd, 0], [7, 0x8000_0000],
    ]
    for (const [low, high] of nowhere) {
      const guest = PvGuest.boot()
      guest.run((registers) => {
        for (let i = 0; i < 16; i += 1) registers.set(i, low, high)
        registers.setRip(low, high)
        return { reason: EXIT.EXCEPTION, vector: VECTOR.GP, errorCode: 0xffff, address: -1 }
      })
      const report = guest.host.hypervisor.crashReport(guest.domid)
      expect(report?.state?.stack.words.length).toBeLessThanOrEqual(256)
      expect(report?.state?.code?.bytes.length ?? 0).toBeLessThanOrEqual(32)
    }
  })
})

describe('Xen\'s lines on the console', () => {
  test('are those that Xen 4.17 prints', () => {
    const { console, guest } = crash(PAGE_FAULT_EXIT, (one) => one.view.setBigUint64(one.place(31), 0xabcdn, true))
    const lines = console.split('\n').filter((line) => line !== '')
    for (const line of lines) expect(line).toMatch(/^\(XEN\) /)
    const d = guest.domid
    const w = '[0-9a-f]{16}'
    const expected = [
      `d${d}v0 Unhandled: vec 14, #PF\\[0002\\]`, 'Pagetable walk from 0000000000000010:',
      ` L4\\[0x000\\] = ${w} ${w}`, ` L3\\[0x000\\] = ${w} ${w}`, ` L2\\[0x000\\] = ${w} ${w}`,
      ` L1\\[0x000\\] = 0000000000000000 ${w}`, 'domain_crash_sync called from entry.S',
      `Domain ${d} \\(vcpu#0\\) crashed on cpu#0:`, '----\\[ Xen-4\\.17\\.7  x86_64  debug=n  Not tainted \\]----', 'CPU:    0',
      `RIP:    e033:\\[<${(BASE + 0x100).toString(16).padStart(16, '0')}>\\]`, `RFLAGS: ${w}   EM: [01]   CONTEXT: pv guest \\(d${d}v0\\)`,
      `rax: ${w}   rbx: ${w}   rcx: ${w}`, `rdx: ${w}   rsi: ${w}   rdi: ${w}`, `rbp: ${w}   rsp: ${w}   r8:  ${w}`,
      `r9:  ${w}   r10: ${w}   r11: ${w}`, `r12: ${w}   r13: ${w}   r14: ${w}`, `r15: ${w}   cr0: ${w}   cr4: ${w}`,
      `cr3: ${w}   cr2: 0000000000000010`, `fsb: ${w}   gsb: ${w}   gss: ${w}`,
      'ds: 0000   es: 0000   fs: 0000   gs: 0000   ss: e02b   cs: e033', `Guest stack trace from rsp=${w}:`,
      '   000000000000abcd 0000000000000000 0000000000000000 0000000000000000',
    ]
    for (const [i, pattern] of expected.entries()) expect(lines[i]).toMatch(new RegExp(`^\\(XEN\\) ${pattern}$`))
    // 80 words, four to a line.
    expect(lines).toHaveLength(expected.length + 19)
  })

  test('a crash that is no exception names its reason', () => {
    const guest = PvGuest.boot()
    guest.run((registers) => {
      registers.set(GPR.rsp, 0x10, 0)
      registers.set(GPR.rax, 23, 0)
      return { reason: EXIT.SYSCALL }
    })
    expect(guest.host.hypervisor.readConsole()).toContain('(XEN) domain_crash called: iret from a stack that cannot be read\n')
  })
})
