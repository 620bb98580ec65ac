/**
 * The two-byte opcode map (0F) and the three-byte maps (0F 38, 0F 3A), integer and system instructions. Row format: see
 * table.ts.
 * Reference: Intel SDM volume 2, appendix A, tables.
 */

/** Rows behind 0F. */
export const TWO_BYTE = `
00/0 sldt Rv/Mw
00/1 str Rv/Mw
00/2 lldt Ew
00/3 ltr Ew
00/4 verr Ew
00/5 verw Ew
01/0m sgdt M
01/1m sidt M
01/2m lgdt M
01/3m lidt M
01/4 smsw Rv/Mw
01/6 lmsw Ew
01/7m invlpg M
01:d0 xgetbv -
01:d1 xsetbv -
01:f8 swapgs - o64
01:f9 rdtscp -
02 lar Gv,Ew
03 lsl Gv,Ew
05 syscall - o64
06 clts -
07 sysret - o64
08 invd -
09 wbinvd -
0b ud2 -
0d/0m nop M
0d/1m nop M
0d/2m nop M
0d/3m nop M
0d/4m nop M
0d/5m nop M
0d/6m nop M
0d/7m nop M
18/0 nop Ev
18/1 nop Ev
18/2 nop Ev
18/3 nop Ev
18/4 nop Ev
18/5 nop Ev
18/6 nop Ev
18/7 nop Ev
19 nop Ev
1a nop Ev
1b nop Ev
1c nop Ev
1d nop Ev
1e nop Ev
1f nop Ev
20 movcr Ry,Cy
21 movdr Ry,Dy
22 movcr Cy,Ry
23 movdr Dy,Ry
30 wrmsr -
31 rdtsc -
32 rdmsr -
33 rdpmc -
34 sysenter -
35 sysexit -
40-4f cmovCC Gv,Ev
80-8f jCC Jz f64
90-9f setCC Eb
a0 push fs d64
a1 pop fs d64
a2 cpuid -
a3 bt Ev,Gv u=oszap
a4 shld Ev,Gv,Ib u=count
a5 shld Ev,Gv,cl u=count
a8 push gs d64
a9 pop gs d64
aa rsm -
ab bts Ev,Gv lock u=oszap
ac shrd Ev,Gv,Ib u=count
ad shrd Ev,Gv,cl u=count
np+ae/0m fxsave M
np+ae/1m fxrstor M
np+ae/2m ldmxcsr Md
np+ae/3m stmxcsr Md
np+ae/7m clflush M
np+ae/5r lfence -
np+ae/6r mfence -
np+ae/7r sfence -
af imul Gv,Ev u=szap
b0 cmpxchg Eb,Gb lock
b1 cmpxchg Ev,Gv lock
b2m lss Gv,M
b4m lfs Gv,M
b5m lgs Gv,M
b6 movzx Gv,Eb
b7 movzx Gv,Ew
f3+b8 popcnt Gv,Ev
b9 ud1 Gv,Ev
ba/4 bt Ev,Ib u=oszap
ba/5 bts Ev,Ib lock u=oszap
ba/6 btr Ev,Ib lock u=oszap
ba/7 btc Ev,Ib lock u=oszap
bb btc Ev,Gv lock u=oszap
b3 btr Ev,Gv lock u=oszap
bc bsf Gv,Ev u=osapc
bd bsr Gv,Ev u=osapc
be movsx Gv,Eb
bf movsx Gv,Ew
c0 xadd Eb,Gb lock
c1 xadd Ev,Gv lock
np+c3m movnti My,Gy
c7/1m cmpxchg8b M lock
c8-cf bswap Zv
ff ud0 Gv,Ev
`
