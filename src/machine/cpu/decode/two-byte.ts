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
01:c1 vmcall - vmx host
01:c2 vmlaunch - vmx
01:c3 vmresume - vmx
01:c4 vmxoff - vmx
01:c8 monitor - monitor
01:c9 mwait - monitor
01:ca clac - smap
01:cb stac - smap
01:cf encls - sgx
01:d0 xgetbv - xsave
01:d1 xsetbv - xsave
01:d5 xend - rtm
01:d6 xtest - rtm
01:d7 enclu - sgx
01:d8 vmrun - svm
01:d9 vmmcall - svm host
f3+01:d9 vmmcall - svm as=vmgexit
01:da vmload - svm
01:db vmsave - svm
01:dc stgi - svm
01:dd clgi - svm
01:de skinit - svm
01:df invlpga - svm
np+01:e8 serialize - serialize
np+01:ee rdpkru - pku
np+01:ef wrpkru - pku
01:f8 swapgs - o64
01:f9 rdtscp - rdtscp
01:fa monitorx - mwaitx
01:fb mwaitx - mwaitx
01:fc clzero - clzero
f3+01:fe rmpadjust - sev_snp
f2+01:ff pvalidate - sev_snp
02 lar Gv,Ew
03 lsl Gv,Ew
05 syscall - syscall
06 clts -
07 sysret - syscall
08 invd -
09 wbinvd -
f3+09 wbinvd - as=wbnoinvd
0b ud2 -
0d/0m nop M as=prefetch
0d/1m nop M as=prefetchw
0d/2m nop M as=prefetchwt1
0d/3m nop M as=prefetch
0d/4m nop M as=prefetch
0d/5m nop M as=prefetch
0d/6m nop M as=prefetch
0d/7m nop M as=prefetch
18/0m nop M as=prefetchnta
18/0r nop Ev
18/1m nop M as=prefetcht0
18/1r nop Ev
18/2m nop M as=prefetcht1
18/2r nop Ev
18/3m nop M as=prefetcht2
18/3r nop Ev
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
f3+1e:fa nop - as=endbr64
f3+1e:fb nop - as=endbr32
f3+1e/1r nop Ry as=rdssp
1f nop Ev
20 movcr Ry,Cy
21 movdr Ry,Dy
22 movcr Cy,Ry
23 movdr Dy,Ry
30 wrmsr - msr
31 rdtsc - tsc
32 rdmsr - msr
33 rdpmc -
34 sysenter -
35 sysexit -
40-4f cmovCC Gv,Ev cmov
np+78 vmread Ey,Gy vmx f64
np+79 vmwrite Gy,Ey vmx f64
80-8f jCC Jz d64
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
np+ae/0m fxsave M fxsr
np+ae/1m fxrstor M fxsr
np+ae/2m ldmxcsr Md sse
np+ae/3m stmxcsr Md sse
np+ae/4m xsave M xsave
np+ae/5m xrstor M xsave
np+ae/6m xsaveopt M xsaveopt
np+ae/7m clflush M clflush
66+ae/6m clwb M clwb
66+ae/7m clflushopt M clflushopt
f3+ae/0r rdfsbase Ry o64 fsgsbase
f3+ae/1r rdgsbase Ry o64 fsgsbase
f3+ae/2r wrfsbase Ry o64 fsgsbase
f3+ae/3r wrgsbase Ry o64 fsgsbase
f3+ae/5r incssp Ry shstk
np+ae/5r lfence - sse2
np+ae/6r mfence - sse2
66+ae/6r tpause Rd waitpkg
f3+ae/6r umonitor Rv waitpkg
f2+ae/6r umwait Rd waitpkg
np+ae/7r sfence - sse
af imul Gv,Ev u=szap
b0 cmpxchg Eb,Gb lock
b1 cmpxchg Ev,Gv lock
b2m lss Gv,M
b4m lfs Gv,M
b5m lgs Gv,M
b6 movzx Gv,Eb
b7 movzx Gv,Ew
f3+b8 popcnt Gv,Ev popcnt
b9 ud1 Gv,Ev
ba/4 bt Ev,Ib u=oszap
ba/5 bts Ev,Ib lock u=oszap
ba/6 btr Ev,Ib lock u=oszap
ba/7 btc Ev,Ib lock u=oszap
bb btc Ev,Gv lock u=oszap
b3 btr Ev,Gv lock u=oszap
bc bsf Gv,Ev u=osapc
f3+bc tzcnt Gv,Ev bmi1 legacy u=osap
f3+bc bsf Gv,Ev u=osapc as=tzcnt
bd bsr Gv,Ev u=osapc
f3+bd lzcnt Gv,Ev abm legacy u=osap
f3+bd bsr Gv,Ev u=osapc as=lzcnt
be movsx Gv,Eb
bf movsx Gv,Ew
c0 xadd Eb,Gb lock
c1 xadd Ev,Gv lock
np+c3m movnti My,Gy sse2
c7/1m cmpxchg8b M lock cx8
np+c7/3m xrstors M xsaves
np+c7/4m xsavec M xsavec
np+c7/5m xsaves M xsaves
np+c7/6m vmptrld M vmx
66+c7/6m vmclear M vmx
f3+c7/6m vmxon M vmx
np+c7/7m vmptrst M vmx
c7/6r rdrand Rv rdrand
c7/7r rdseed Rv rdseed
f3+c7/7r rdpid Ry rdpid
c8-cf bswap Zv
ff ud0 Gv,Ev
`

/** Rows behind 0F 38. */
export const MAP_38 = `
66+80 invept Gy,M f64 vmx
66+81 invvpid Gy,M f64 vmx
66+82 invpcid Gy,M f64 invpcid
np+c8 sha1nexte Vdq,Wdq sha_ni
np+c9 sha1msg1 Vdq,Wdq sha_ni
np+ca sha1msg2 Vdq,Wdq sha_ni
np+cb sha256rnds2 Vdq,Wdq sha_ni
np+cc sha256msg1 Vdq,Wdq sha_ni
np+cd sha256msg2 Vdq,Wdq sha_ni
66+cf gf2p8mulb Vdq,Wdq gfni
66+db aesimc Vdq,Wdq aes
66+dc aesenc Vdq,Wdq aes
66+dd aesenclast Vdq,Wdq aes
66+de aesdec Vdq,Wdq aes
66+df aesdeclast Vdq,Wdq aes
f0m movbe Gv,M movbe
f1m movbe M,Gv movbe
66+f6 adcx Gy,Ey adx
f3+f6 adox Gy,Ey adx
66+f8m movdir64b Gy,M movdir64b
f2+f8m enqcmd Gy,M enqcmd
f3+f8m enqcmds Gy,M enqcmd
np+f9m movdiri My,Gy movdiri
`

/** Rows behind 0F 3A. */
export const MAP_3A = `
np+cc sha1rnds4 Vdq,Wdq,Ib sha_ni
66+44 pclmulqdq Vdq,Wdq,Ib pclmulqdq
66+ce gf2p8affineqb Vdq,Wdq,Ib gfni
66+cf gf2p8affineinvqb Vdq,Wdq,Ib gfni
66+df aeskeygenassist Vdq,Wdq,Ib aes
`
