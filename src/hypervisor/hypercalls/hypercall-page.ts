/**
 * The hypercall page: 128 stubs of 32 bytes, one for each hypercall number, that a guest calls like functions. Each
 * loads its number and executes `syscall`, which may change RCX and R11.
 * Reference: xen/arch/x86/pv/hypercall.c, pv_ring3_init_hypercall_page.
 */
import { HYPERVISOR } from '../../abi/index.ts'

const STUB = 32
const STUBS = 128

/** push rcx; push r11; mov $number, eax; syscall; pop r11; pop rcx; ret */
const stub = (number: number): number[] => [0x51, 0x41, 0x53, 0xb8, number, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]
/** push rcx; push r11; push rax; mov $iret, eax; syscall: the iret hypercall finds the three on the stack. */
const iretStub = (): number[] => [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR.iret, 0, 0, 0, 0x0f, 0x05]

/** Fills a page. What lies between the stubs faults when it is executed. */
export function fillHypercallPage(page: Uint8Array): void {
  page.fill(0xcc)
  for (let number = 0; number < STUBS; number += 1) {
    page.set(number === HYPERVISOR.iret ? iretStub() : stub(number), number * STUB)
  }
}
