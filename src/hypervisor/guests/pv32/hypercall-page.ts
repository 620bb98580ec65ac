/**
 * The hypercall page of 32-bit guests: 128 stubs of 32 bytes, one for each hypercall number, that a guest calls like
 * functions. Each loads its number and executes `int $0x82`.
 * Reference: xen/arch/x86/pv/hypercall.c, pv_ring1_init_hypercall_page.
 */
import { HYPERVISOR } from '../../../abi/index.ts'

const STUB = 32
const STUBS = 128

/** mov $number, %eax; int $0x82; ret */
const stub = (number: number): number[] => [0xb8, number, 0, 0, 0, 0xcd, 0x82, 0xc3]
/** push %eax; mov $iret, %eax; int $0x82: it is jumped to, and finds eax on the stack. */
const iretStub = (): number[] => [0x50, 0xb8, HYPERVISOR.iret, 0, 0, 0, 0xcd, 0x82]

/** Fills a page. What lies between the stubs faults when it is executed. */
export function fillCompatHypercallPage(page: Uint8Array): void {
  page.fill(0xcc)
  for (let number = 0; number < STUBS; number += 1) {
    page.set(number === HYPERVISOR.iret ? iretStub() : stub(number), number * STUB)
  }
}
