/**
 * The page of call stubs that kernels with a HYPERCALL_PAGE note expect: 32 bytes for each hypercall number.
 * A stub saves what SYSCALL destroys; that of iret leaves all to the hypervisor, which finds RAX on the stack.
 * Reference: xen/include/public/xen.h and arch-x86/xen-x86_64.h (calling convention, struct iret_context).
 */
import { HYPERVISOR } from '../../abi/index.ts'

const STUB_SIZE = 32
const STUBS = 4096 / STUB_SIZE

/** push rcx; push r11; mov eax, NUMBER; syscall; pop r11; pop rcx; ret */
const callStub = (number: number): readonly number[] =>
  [0x51, 0x41, 0x53, 0xb8, number & 0xff, number >> 8, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]

/** push rcx; push r11; push rax; mov eax, iret; syscall; int3 */
const iretStub = [0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR.iret, 0, 0, 0, 0x0f, 0x05, 0xcc] as const

/** Fills a page with the stubs; the space between them traps. */
export function writeHypercallPage(page: Uint8Array): void {
  page.fill(0xcc)
  for (let number = 0; number < STUBS; number += 1) {
    page.set(number === HYPERVISOR.iret ? iretStub : callStub(number), number * STUB_SIZE)
  }
}
