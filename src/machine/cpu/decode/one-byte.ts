/**
 * The one-byte opcode map. Row format: see table.ts.
 * Reference: Intel SDM volume 2, appendix A, table.
 */

/** Rows of the map without escape. */
export const ONE_BYTE = `
00 add Eb,Gb lock
01 add Ev,Gv lock
02 add Gb,Eb
03 add Gv,Ev
04 add al,Ib
05 add rAX,Iz
06 push es i64
07 pop es i64
08 or Eb,Gb lock u=a
09 or Ev,Gv lock u=a
0a or Gb,Eb u=a
0b or Gv,Ev u=a
0c or al,Ib u=a
0d or rAX,Iz u=a
0e push cs i64
10 adc Eb,Gb lock
11 adc Ev,Gv lock
12 adc Gb,Eb
13 adc Gv,Ev
14 adc al,Ib
15 adc rAX,Iz
16 push ss i64
17 pop ss i64
18 sbb Eb,Gb lock
19 sbb Ev,Gv lock
1a sbb Gb,Eb
1b sbb Gv,Ev
1c sbb al,Ib
1d sbb rAX,Iz
1e push ds i64
1f pop ds i64
20 and Eb,Gb lock u=a
21 and Ev,Gv lock u=a
22 and Gb,Eb u=a
23 and Gv,Ev u=a
24 and al,Ib u=a
25 and rAX,Iz u=a
27 daa - i64 u=o
28 sub Eb,Gb lock
29 sub Ev,Gv lock
2a sub Gb,Eb
2b sub Gv,Ev
2c sub al,Ib
2d sub rAX,Iz
2f das - i64 u=o
30 xor Eb,Gb lock u=a
31 xor Ev,Gv lock u=a
32 xor Gb,Eb u=a
33 xor Gv,Ev u=a
34 xor al,Ib u=a
35 xor rAX,Iz u=a
37 aaa - i64 u=oszp
38 cmp Eb,Gb
39 cmp Ev,Gv
3a cmp Gb,Eb
3b cmp Gv,Ev
3c cmp al,Ib
3d cmp rAX,Iz
3f aas - i64 u=oszp
40-47 inc Zv i64
48-4f dec Zv i64
50-57 push Zv d64
58-5f pop Zv d64
60 pusha - i64
61 popa - i64
62m bound Gv,M i64
63 movsxd Gv,Ed o64
63 arpl Ew,Gw i64
68 push Iz d64
69 imul Gv,Ev,Iz u=szap
6a push Ibs d64
6b imul Gv,Ev,Ibs u=szap
6c ins Yb,dx rep
6d ins Yz,dx rep
6e outs dx,Xb rep
6f outs dx,Xz rep
70-7f jCC Jb d64
80/0 add Eb,Ib lock
80/1 or Eb,Ib lock u=a
80/2 adc Eb,Ib lock
80/3 sbb Eb,Ib lock
80/4 and Eb,Ib lock u=a
80/5 sub Eb,Ib lock
80/6 xor Eb,Ib lock u=a
80/7 cmp Eb,Ib
81/0 add Ev,Iz lock
81/1 or Ev,Iz lock u=a
81/2 adc Ev,Iz lock
81/3 sbb Ev,Iz lock
81/4 and Ev,Iz lock u=a
81/5 sub Ev,Iz lock
81/6 xor Ev,Iz lock u=a
81/7 cmp Ev,Iz
82/0 add Eb,Ib lock i64
82/1 or Eb,Ib lock i64 u=a
82/2 adc Eb,Ib lock i64
82/3 sbb Eb,Ib lock i64
82/4 and Eb,Ib lock i64 u=a
82/5 sub Eb,Ib lock i64
82/6 xor Eb,Ib lock i64 u=a
82/7 cmp Eb,Ib i64
83/0 add Ev,Ibs lock
83/1 or Ev,Ibs lock u=a
83/2 adc Ev,Ibs lock
83/3 sbb Ev,Ibs lock
83/4 and Ev,Ibs lock u=a
83/5 sub Ev,Ibs lock
83/6 xor Ev,Ibs lock u=a
83/7 cmp Ev,Ibs
84 test Eb,Gb u=a
85 test Ev,Gv u=a
86 xchg Eb,Gb lock
87 xchg Ev,Gv lock
88 mov Eb,Gb
89 mov Ev,Gv
8a mov Gb,Eb
8b mov Gv,Ev
8c mov Rv/Mw,Sw
8d lea Gv,M
8e mov Sw,Ew
8f/0 pop Ev d64
90-97 xchg Zv,rAX
f3+90 pause -
98 cbw -
99 cwd -
9a call Ap i64
9b wait -
9c pushf - d64
9d popf - d64
9e sahf -
9f lahf -
a0 mov al,Ob
a1 mov rAX,Ov
a2 mov Ob,al
a3 mov Ov,rAX
a4 movs Yb,Xb rep
a5 movs Yv,Xv rep
a6 cmps Xb,Yb repcc
a7 cmps Xv,Yv repcc
a8 test al,Ib u=a
a9 test rAX,Iz u=a
aa stos Yb,al rep
ab stos Yv,rAX rep
ac lods al,Xb rep
ad lods rAX,Xv rep
ae scas al,Yb repcc
af scas rAX,Yv repcc
b0-b7 mov Zb,Ib
b8-bf mov Zv,Iv
c0/0 rol Eb,Ib u=count
c0/1 ror Eb,Ib u=count
c0/2 rcl Eb,Ib u=count
c0/3 rcr Eb,Ib u=count
c0/4 shl Eb,Ib u=count
c0/5 shr Eb,Ib u=count
c0/6 shl Eb,Ib u=count
c0/7 sar Eb,Ib u=count
c1/0 rol Ev,Ib u=count
c1/1 ror Ev,Ib u=count
c1/2 rcl Ev,Ib u=count
c1/3 rcr Ev,Ib u=count
c1/4 shl Ev,Ib u=count
c1/5 shr Ev,Ib u=count
c1/6 shl Ev,Ib u=count
c1/7 sar Ev,Ib u=count
c2 ret Iw d64
c3 ret - d64
c4m les Gz,M i64
c5m lds Gz,M i64
c6/0 mov Eb,Ib
c6:f8 xabort Ib rtm
c7/0 mov Ev,Iz
c7:f8 xbegin Jz rtm
c8 enter Iw,Ib d64
c9 leave - d64
ca retf Iw
cb retf -
cc int3 -
cd int Ib
ce into - i64
cf iret -
d0/0 rol Eb,1
d0/1 ror Eb,1
d0/2 rcl Eb,1
d0/3 rcr Eb,1
d0/4 shl Eb,1 u=a
d0/5 shr Eb,1 u=a
d0/6 shl Eb,1 u=a
d0/7 sar Eb,1 u=a
d1/0 rol Ev,1
d1/1 ror Ev,1
d1/2 rcl Ev,1
d1/3 rcr Ev,1
d1/4 shl Ev,1 u=a
d1/5 shr Ev,1 u=a
d1/6 shl Ev,1 u=a
d1/7 sar Ev,1 u=a
d2/0 rol Eb,cl u=count
d2/1 ror Eb,cl u=count
d2/2 rcl Eb,cl u=count
d2/3 rcr Eb,cl u=count
d2/4 shl Eb,cl u=count
d2/5 shr Eb,cl u=count
d2/6 shl Eb,cl u=count
d2/7 sar Eb,cl u=count
d3/0 rol Ev,cl u=count
d3/1 ror Ev,cl u=count
d3/2 rcl Ev,cl u=count
d3/3 rcr Ev,cl u=count
d3/4 shl Ev,cl u=count
d3/5 shr Ev,cl u=count
d3/6 shl Ev,cl u=count
d3/7 sar Ev,cl u=count
d4 aam Ib i64 u=oac
d5 aad Ib i64 u=oac
d6 salc - i64
d7 xlat -
e0 loopne Jb d64
e1 loope Jb d64
e2 loop Jb d64
e3 jcxz Jb d64
e4 in al,Ib
e5 in eAX,Ib
e6 out Ib,al
e7 out Ib,eAX
e8 call Jz d64
e9 jmp Jz d64
ea jmp Ap i64
eb jmp Jb d64
ec in al,dx
ed in eAX,dx
ee out dx,al
ef out dx,eAX
f1 int1 -
f4 hlt -
f5 cmc -
f6/0 test Eb,Ib u=a
f6/1 test Eb,Ib u=a
f6/2 not Eb lock
f6/3 neg Eb lock
f6/4 mul Eb u=szap
f6/5 imul Eb u=szap
f6/6 div Eb u=oszapc
f6/7 idiv Eb u=oszapc
f7/0 test Ev,Iz u=a
f7/1 test Ev,Iz u=a
f7/2 not Ev lock
f7/3 neg Ev lock
f7/4 mul Ev u=szap
f7/5 imul Ev u=szap
f7/6 div Ev u=oszapc
f7/7 idiv Ev u=oszapc
f8 clc -
f9 stc -
fa cli -
fb sti -
fc cld -
fd std -
fe/0 inc Eb lock
fe/1 dec Eb lock
ff/0 inc Ev lock
ff/1 dec Ev lock
ff/2 call Ev d64
ff/3m callf M
ff/4 jmp Ev d64
ff/5m jmpf M
ff/6 push Ev d64
`
