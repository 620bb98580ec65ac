/**
 * A PV kernel with planted mistakes, in a few lines: it takes a request at 0x3000, again and again - a length, not 0, then the request - and sets the length to 0 when
 * it is done with it. It dies of a request that begins with FUZZ, takes the length twice from memory that others share, and writes behind its buffer's end at
 * 0x4000 where the request is longer than 64 bytes and its fifth byte is 7. `rounds` make it slower: so many rounds of five instructions a request.
 */
import { assembleListing } from './assembler.ts'
import { makeElf } from './elf-image.ts'

/** Where the request is, and the word behind the buffer, which nobody may write. */
export const REQUEST = 0x3000
export const GUARD = 0x4040

const listing = (rounds: number): string => `
main:
  mov $0x3000, %ebx
  mov (%rbx), %ecx
  test %ecx, %ecx
  je main
  call handler
  mov $0x3000, %ebx
  xor %eax, %eax
  mov %eax, (%rbx)
  jmp main
handler:
  mov $${rounds}, %ecx
  xor %edx, %edx
work:
  test %ecx, %ecx
  je worked
  add %ecx, %edx
  dec %ecx
  jmp work
worked:
  movzbl 4(%rbx), %eax
  cmp $0x46, %eax
  jne length
  movzbl 5(%rbx), %eax
  cmp $0x55, %eax
  jne length
  movzbl 6(%rbx), %eax
  cmp $0x5a, %eax
  jne length
  movzbl 7(%rbx), %eax
  cmp $0x5a, %eax
  jne length
  ud2
length:
  movzbl 8(%rbx), %eax
  cmp $7, %eax
  jne done
  mov (%rbx), %ecx
  cmp $64, %ecx
  jbe done
  mov $0x4040, %edx
  mov %ecx, (%rdx)
done:
  ret
`

/** The kernel, with symbols. */
export function plantedKernel(rounds = 0): Uint8Array {
  const { bytes, labels } = assembleListing(listing(rounds), { origin: 0x1000 })
  const memory = new Uint8Array(0x4000)
  memory.set(bytes)
  const names = [...labels].sort(([, one], [, other]) => Number(one) - Number(other))
  return makeElf({
    entry: 0x1000n, notes: [{ type: 5, value: 'xen-3.0' }], segments: [{ address: 0x1000, bytes: memory, flags: 7 }],
    symbols: names.map(([name, value], i) => ({ name, value: BigInt(value), size: BigInt(Number(names[i + 1]?.[1] ?? 0x1000 + bytes.length) - Number(value)) })),
  })
}
