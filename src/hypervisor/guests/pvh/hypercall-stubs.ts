/**
 * The hypercall page of translated guests: 128 stubs of 32 bytes, each of which loads its number and executes VMMCALL; the
 * one of iret faults, as such guests return by themselves.
 * Reference: xen/arch/x86/hvm/svm/svm.c, svm_init_hypercall_page.
 */
import { HYPERVISOR } from '../../../abi/index.ts'

const [STUB, STUBS] = [32, 128] as const

/** mov $number, eax; vmmcall; ret */
const stub = (number: number): number[] => [0xb8, number, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3]
/** ud2 */
const NONE = [0x0f, 0x0b]

/** Fills a page. What lies between the stubs faults when it is executed. */
export function fillStubs(page: Uint8Array): void {
  page.fill(0xcc)
  for (let number = 0; number < STUBS; number += 1) page.set(number === HYPERVISOR.iret ? NONE : stub(number), number * STUB)
}
