/** What an instruction that the processor refuses would need; GNU as says which features each belongs to. */
import { describe, expect, test } from 'vitest'
import { Disassembler, disassemble } from '../../../../src/machine/index.ts'
import { instructionRows } from '../../../../src/machine/cpu/decode/table.ts'

/** Feature, instruction, and the bytes of GNU as, which takes it with that feature (`.arch .avx`) and not without. */
const INSTRUCTIONS: readonly (readonly [feature: string, line: string, bytes: string])[] = [
  ['AVX', 'vmovaps %ymm0,%ymm1', 'c5fc28c8'],
  ['AVX', 'vaddps %xmm2,%xmm1,%xmm0', 'c5f058c2'],
  ['AVX', 'vaddpd (%rax,%rcx,4),%ymm1,%ymm9', 'c575580c88'],
  ['AVX', 'vzeroupper', 'c5f877'],
  ['AVX', 'vpaddb %xmm2,%xmm1,%xmm0', 'c5f1fcc2'],
  ['AVX', 'vpshufb %xmm2,%xmm1,%xmm0', 'c4e27100c2'],
  ['AVX', 'vpalignr $3,%xmm2,%xmm1,%xmm0', 'c4e3710fc203'],
  ['AVX', 'vbroadcastss (%rax),%ymm0', 'c4e27d1800'],
  ['AVX', 'vmaskmovps (%rax),%ymm1,%ymm0', 'c4e2752c00'],
  ['AVX', 'vptest %ymm0,%ymm1', 'c4e27d17c8'],
  ['AVX', 'vmovdqa %ymm0,(%rdi)', 'c5fd7f07'],
  ['AVX', 'vmovntdq %ymm0,(%rdi)', 'c5fde707'],
  ['AVX', 'vlddqu (%rdi),%ymm0', 'c5fff007'],
  ['AVX', 'vmovq %xmm0,%rax', 'c4e1f97ec0'],
  ['AVX', 'vcvtdq2pd %xmm0,%ymm1', 'c5fee6c8'],
  ['AVX', 'vpermilps $1,%ymm0,%ymm1', 'c4e37d04c801'],
  ['AVX', 'vinsertf128 $1,%xmm0,%ymm1,%ymm2', 'c4e37518d001'],
  ['AVX', 'vextractf128 $1,%ymm0,%xmm1', 'c4e37d19c101'],
  ['AVX', 'vroundps $1,%ymm0,%ymm1', 'c4e37d08c801'],
  ['AVX', 'vblendps $1,%ymm0,%ymm1,%ymm2', 'c4e3750cd001'],
  ['AVX', 'vdpps $1,%ymm0,%ymm1,%ymm2', 'c4e37540d001'],
  ['AVX2', 'vpaddb %ymm2,%ymm1,%ymm0', 'c5f5fcc2'],
  ['AVX2', 'vpshufb %ymm2,%ymm1,%ymm0', 'c4e27500c2'],
  ['AVX2', 'vpalignr $3,%ymm2,%ymm1,%ymm0', 'c4e3750fc203'],
  ['AVX2', 'vpblendw $3,%ymm2,%ymm1,%ymm0', 'c4e3750ec203'],
  ['AVX2', 'vpbroadcastb %xmm1,%ymm0', 'c4e27d78c1'],
  ['AVX2', 'vpermq $1,%ymm1,%ymm0', 'c4e3fd00c101'],
  ['AVX2', 'vpsllvd %xmm2,%xmm1,%xmm0', 'c4e27147c2'],
  ['AVX2', 'vpgatherdd %xmm1,(%rax,%xmm2,4),%xmm0', 'c4e271900490'],
  ['AVX2', 'vpcmpeqb %ymm0,%ymm1,%ymm2', 'c5f574d0'],
  ['AVX2', 'vpmovmskb %ymm0,%eax', 'c5fdd7c0'],
  ['AVX2', 'vpxor %ymm0,%ymm0,%ymm0', 'c5fdefc0'],
  ['AVX2', 'vpand %ymm0,%ymm0,%ymm0', 'c5fddbc0'],
  ['AVX2', 'vpsrldq $4,%ymm0,%ymm1', 'c5f573d804'],
  ['AVX2', 'vinserti128 $1,%xmm0,%ymm1,%ymm2', 'c4e37538d001'],
  ['AVX2', 'vmovntdqa (%rax),%ymm1', 'c4e27d2a08'],
  ['AVX2', 'vpmaxsw %ymm0,%ymm0,%ymm0', 'c5fdeec0'],
  ['AVX2', 'vpmaskmovd (%rax),%xmm1,%xmm2', 'c4e2718c10'],
  ['AVX2', 'vpmovzxbw %xmm0,%ymm1', 'c4e27d30c8'],
  ['AVX2', 'vpabsb %ymm0,%ymm1', 'c4e27d1cc8'],
  ['AVX2', 'vmpsadbw $1,%ymm0,%ymm1,%ymm2', 'c4e37542d001'],
  ['AVX2', 'vpshufd $1,%ymm0,%ymm1', 'c5fd70c801'],
  ['AVX2', 'vpermd %ymm0,%ymm1,%ymm2', 'c4e27536d0'],
  ['AVX2', 'vpblendd $1,%xmm0,%xmm1,%xmm2', 'c4e37102d001'],
  ['FMA', 'vfmadd213ps %ymm2,%ymm1,%ymm0', 'c4e275a8c2'],
  ['FMA', 'vfnmsub231sd %xmm2,%xmm1,%xmm0', 'c4e2f1bfc2'],
  ['F16C', 'vcvtph2ps %xmm0,%ymm1', 'c4e27d13c8'],
  ['F16C', 'vcvtps2ph $0,%ymm0,%xmm1', 'c4e37d1dc100'],
  ['BMI1', 'andn %rax,%rbx,%rcx', 'c4e2e0f2c8'],
  ['BMI1', 'blsr %rax,%rbx', 'c4e2e0f3c8'],
  ['BMI1', 'bextr %rax,%rbx,%rcx', 'c4e2f8f7cb'],
  ['BMI2', 'pext %rax,%rbx,%rcx', 'c4e2e2f5c8'],
  ['BMI2', 'bzhi %rax,%rbx,%rcx', 'c4e2f8f5cb'],
  ['BMI2', 'shlx %rax,%rbx,%rcx', 'c4e2f9f7cb'],
  ['BMI2', 'mulx %rax,%rbx,%rcx', 'c4e2e3f6c8'],
  ['BMI2', 'rorx $1,%rbx,%rcx', 'c4e3fbf0cb01'],
  ['AVX-512', 'vaddps %zmm2,%zmm1,%zmm0', '62f1744858c2'],
  ['AVX-512', 'kmovw %eax,%k1', 'c5f892c8'],
  ['AVX-512', 'kortestw %k1,%k1', 'c5f898c9'],
  ['AVX-512', 'kshiftlw $1,%k1,%k2', 'c4e3f932d101'],
  ['AVX-512', 'vmovdqu64 (%rsi),%zmm17', '62e1fe486f0e'],
  ['AVX-VNNI', 'vpdpbusd %ymm2,%ymm1,%ymm0', 'c4e27550c2'],
  ['AMX', 'ldtilecfg (%rax)', 'c4e2784900'],
  ['AMX', 'tilezero %tmm0', 'c4e27b49c0'],
  ['FMA4', 'vfmaddps %ymm3,%ymm2,%ymm1,%ymm0', 'c4e3f568c320'],
  ['XOP', 'vpcmov %xmm3,%xmm2,%xmm1,%xmm0', '8fe870a2c230'],
  ['XOP', 'vprotb %xmm2,%xmm1,%xmm0', '8fe96890c1'],
  ['3DNow!', 'pfadd %mm0,%mm1', '0f0fc89e'],
  ['AES-NI', 'aesenc %xmm0,%xmm1', '660f38dcc8'],
  ['PCLMULQDQ', 'pclmulqdq $1,%xmm0,%xmm1', '660f3a44c801'],
  ['SHA', 'sha1rnds4 $1,%xmm0,%xmm1', '0f3accc801'],
  ['MOVBE', 'movbe (%rax),%ecx', '0f38f008'],
  ['ADX', 'adcx %rax,%rcx', '66480f38f6c8'],
]

/** Without AVX and the rest of x86-64-v3; what is of none of its levels is named by both. */
const [older, newer] = [new Disassembler('x86-64-v2'), new Disassembler('x86-64-v3')]
const OF_V3 = /^(AVX2?|FMA|F16C|BMI[12]|MOVBE|LZCNT|XSAVE.*)$/

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (digits) => parseInt(digits, 16))

describe('an instruction that is not offered', () => {
  test.each(INSTRUCTIONS)('names %s for %s', (feature, _line, bytes) => {
    expect(older.at(bytesOf(bytes), 0)).toMatchObject({ lacking: feature, kind: expect.stringMatching(/refused|bad/) })
    expect(newer.at(bytesOf(bytes), 0).lacking).toBe(OF_V3.test(feature) ? undefined : feature)
  })

  test('names the feature of its row, for every row', () => {
    const missing = instructionRows().filter(({ offered }) => !offered)
    expect(missing.length).toBeGreaterThan(20)
    for (const { feature } of missing) expect(feature).toBeDefined()
  })

  test('lacks nothing when the processor has it, when it is no instruction, or when it may only not be locked', () => {
    for (const hex of ['90', '0f0b', '0f3800c1', 'f3480fb8c0', '06', 'd6', 'f00fa2', '8fc0', '62', 'c5']) {
      const { lacking, text } = disassemble(bytesOf(hex))
      expect([text, lacking]).toEqual([text, hex === 'c5' || hex === '62' ? expect.anything() : undefined])
    }
  })

  test('of 32-bit code is not taken for LDS, LES, BOUND or POP', () => {
    for (const hex of ['c500', 'c400', '6200', '8f00']) {
      expect(disassemble(bytesOf(`${hex}00000000`), { codeSize: 32 }).lacking).toBeUndefined()
    }
  })
})
