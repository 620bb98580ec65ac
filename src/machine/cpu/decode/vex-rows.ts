/**
 * Rows of instructions with a VEX prefix by map: AVX, AVX2, F16C, FMA, BMI1 and BMI2. Row format: see table.ts. A memory
 * operand may lie anywhere unless the row says `aligned`.
 *   sizes       x as long as VEX.L says, h f e its half, fourth, eighth; dq 128, qq 256 bits
 *   operands    H and B are the vector and the general register in VEX.vvvv, L the vector register in an immediate's upper half
 *   attributes  l1: VEX.L has to be 1, anyl, lig: may be anything; else 0, unless an operand is as long as it says; w0, w1:
 *               VEX.W has to be that; y=...: feature of the form with 256 bits; vsib=...: size of the vector that holds indices
 * Reference: Intel SDM volume 2, section 2.3 and appendix A, tables.
 */

/** Rows of map 0F. */
export const TWO_BYTE_VEX = `
np+10 vmovups Vx,Wx avx
np+11 vmovups Wx,Vx avx
66+10 vmovupd Vx,Wx avx
66+11 vmovupd Wx,Vx avx
f3+10m vmovss Vdq,Md avx lig
f3+10r vmovss Vdq,Hdq,Udq avx lig
f3+11m vmovss Md,Vdq avx lig
f3+11r vmovss Udq,Hdq,Vdq avx lig
f2+10m vmovsd Vdq,Mq avx lig
f2+10r vmovsd Vdq,Hdq,Udq avx lig
f2+11m vmovsd Mq,Vdq avx lig
f2+11r vmovsd Udq,Hdq,Vdq avx lig
np+12m vmovlps Vdq,Hdq,Mq avx
np+12r vmovhlps Vdq,Hdq,Udq avx
66+12m vmovlpd Vdq,Hdq,Mq avx
f3+12 vmovsldup Vx,Wx avx
f2+12 vmovddup Vdq,Wq avx
f2+12 vmovddup Vqq,Wqq avx l1
np+13m vmovlps Mq,Vdq avx
66+13m vmovlpd Mq,Vdq avx
np+14 vunpcklps Vx,Hx,Wx avx
66+14 vunpcklpd Vx,Hx,Wx avx
np+15 vunpckhps Vx,Hx,Wx avx
66+15 vunpckhpd Vx,Hx,Wx avx
np+16m vmovhps Vdq,Hdq,Mq avx
np+16r vmovlhps Vdq,Hdq,Udq avx
66+16m vmovhpd Vdq,Hdq,Mq avx
f3+16 vmovshdup Vx,Wx avx
np+17m vmovhps Mq,Vdq avx
66+17m vmovhpd Mq,Vdq avx
np+28 vmovaps Vx,Wx avx aligned
66+28 vmovapd Vx,Wx avx aligned
np+29 vmovaps Wx,Vx avx aligned
66+29 vmovapd Wx,Vx avx aligned
f3+2a vcvtsi2ss Vdq,Hdq,Ey avx lig
f2+2a vcvtsi2sd Vdq,Hdq,Ey avx lig
np+2bm vmovntps Mx,Vx avx aligned
66+2bm vmovntpd Mx,Vx avx aligned
f3+2c vcvttss2si Gy,Wd avx lig
f2+2c vcvttsd2si Gy,Wq avx lig
f3+2d vcvtss2si Gy,Wd avx lig
f2+2d vcvtsd2si Gy,Wq avx lig
np+2e vucomiss Vdq,Wd avx lig
66+2e vucomisd Vdq,Wq avx lig
np+2f vcomiss Vdq,Wd avx lig
66+2f vcomisd Vdq,Wq avx lig
np+50r vmovmskps Gy,Ux avx
66+50r vmovmskpd Gy,Ux avx
np+51 vsqrtps Vx,Wx avx
66+51 vsqrtpd Vx,Wx avx
f3+51 vsqrtss Vdq,Hdq,Wd avx lig
f2+51 vsqrtsd Vdq,Hdq,Wq avx lig
np+52 vrsqrtps Vx,Wx avx
f3+52 vrsqrtss Vdq,Hdq,Wd avx lig
np+53 vrcpps Vx,Wx avx
f3+53 vrcpss Vdq,Hdq,Wd avx lig
np+54 vandps Vx,Hx,Wx avx
66+54 vandpd Vx,Hx,Wx avx
np+55 vandnps Vx,Hx,Wx avx
66+55 vandnpd Vx,Hx,Wx avx
np+56 vorps Vx,Hx,Wx avx
66+56 vorpd Vx,Hx,Wx avx
np+57 vxorps Vx,Hx,Wx avx
66+57 vxorpd Vx,Hx,Wx avx
np+58 vaddps Vx,Hx,Wx avx
66+58 vaddpd Vx,Hx,Wx avx
f3+58 vaddss Vdq,Hdq,Wd avx lig
f2+58 vaddsd Vdq,Hdq,Wq avx lig
np+59 vmulps Vx,Hx,Wx avx
66+59 vmulpd Vx,Hx,Wx avx
f3+59 vmulss Vdq,Hdq,Wd avx lig
f2+59 vmulsd Vdq,Hdq,Wq avx lig
np+5a vcvtps2pd Vx,Wh avx
66+5a vcvtpd2ps Vdq,Wx avx
f3+5a vcvtss2sd Vdq,Hdq,Wd avx lig
f2+5a vcvtsd2ss Vdq,Hdq,Wq avx lig
np+5b vcvtdq2ps Vx,Wx avx
66+5b vcvtps2dq Vx,Wx avx
f3+5b vcvttps2dq Vx,Wx avx
np+5c vsubps Vx,Hx,Wx avx
66+5c vsubpd Vx,Hx,Wx avx
f3+5c vsubss Vdq,Hdq,Wd avx lig
f2+5c vsubsd Vdq,Hdq,Wq avx lig
np+5d vminps Vx,Hx,Wx avx
66+5d vminpd Vx,Hx,Wx avx
f3+5d vminss Vdq,Hdq,Wd avx lig
f2+5d vminsd Vdq,Hdq,Wq avx lig
np+5e vdivps Vx,Hx,Wx avx
66+5e vdivpd Vx,Hx,Wx avx
f3+5e vdivss Vdq,Hdq,Wd avx lig
f2+5e vdivsd Vdq,Hdq,Wq avx lig
np+5f vmaxps Vx,Hx,Wx avx
66+5f vmaxpd Vx,Hx,Wx avx
f3+5f vmaxss Vdq,Hdq,Wd avx lig
f2+5f vmaxsd Vdq,Hdq,Wq avx lig
66+60 vpunpcklbw Vx,Hx,Wx avx y=avx2
66+61 vpunpcklwd Vx,Hx,Wx avx y=avx2
66+62 vpunpckldq Vx,Hx,Wx avx y=avx2
66+63 vpacksswb Vx,Hx,Wx avx y=avx2
66+64 vpcmpgtb Vx,Hx,Wx avx y=avx2
66+65 vpcmpgtw Vx,Hx,Wx avx y=avx2
66+66 vpcmpgtd Vx,Hx,Wx avx y=avx2
66+67 vpackuswb Vx,Hx,Wx avx y=avx2
66+68 vpunpckhbw Vx,Hx,Wx avx y=avx2
66+69 vpunpckhwd Vx,Hx,Wx avx y=avx2
66+6a vpunpckhdq Vx,Hx,Wx avx y=avx2
66+6b vpackssdw Vx,Hx,Wx avx y=avx2
66+6c vpunpcklqdq Vx,Hx,Wx avx y=avx2
66+6d vpunpckhqdq Vx,Hx,Wx avx y=avx2
66+6e vmovd Vdq,Ey avx
66+6f vmovdqa Vx,Wx avx aligned
f3+6f vmovdqu Vx,Wx avx
66+70 vpshufd Vx,Wx,Ib avx y=avx2
f3+70 vpshufhw Vx,Wx,Ib avx y=avx2
f2+70 vpshuflw Vx,Wx,Ib avx y=avx2
66+71/2r vpsrlw Hx,Ux,Ib avx y=avx2
66+71/4r vpsraw Hx,Ux,Ib avx y=avx2
66+71/6r vpsllw Hx,Ux,Ib avx y=avx2
66+72/2r vpsrld Hx,Ux,Ib avx y=avx2
66+72/4r vpsrad Hx,Ux,Ib avx y=avx2
66+72/6r vpslld Hx,Ux,Ib avx y=avx2
66+73/2r vpsrlq Hx,Ux,Ib avx y=avx2
66+73/6r vpsllq Hx,Ux,Ib avx y=avx2
66+73/3r vpsrldq Hx,Ux,Ib avx y=avx2
66+73/7r vpslldq Hx,Ux,Ib avx y=avx2
66+74 vpcmpeqb Vx,Hx,Wx avx y=avx2
66+75 vpcmpeqw Vx,Hx,Wx avx y=avx2
66+76 vpcmpeqd Vx,Hx,Wx avx y=avx2
np+77 vzeroupper - avx
np+77 vzeroall - avx l1
66+7c vhaddpd Vx,Hx,Wx avx
f2+7c vhaddps Vx,Hx,Wx avx
66+7d vhsubpd Vx,Hx,Wx avx
f2+7d vhsubps Vx,Hx,Wx avx
66+7e vmovd Ey,Vdq avx
f3+7e vmovq Vdq,Wq avx
66+7f vmovdqa Wx,Vx avx aligned
f3+7f vmovdqu Wx,Vx avx
np+ae/2m vldmxcsr Md avx
np+ae/3m vstmxcsr Md avx
np+c2 vcmpps Vx,Hx,Wx,Ib avx
66+c2 vcmppd Vx,Hx,Wx,Ib avx
f3+c2 vcmpss Vdq,Hdq,Wd,Ib avx lig
f2+c2 vcmpsd Vdq,Hdq,Wq,Ib avx lig
66+c4 vpinsrw Vdq,Hdq,Rd/Mw,Ib avx
66+c5r vpextrw Gd,Udq,Ib avx
np+c6 vshufps Vx,Hx,Wx,Ib avx
66+c6 vshufpd Vx,Hx,Wx,Ib avx
66+d0 vaddsubpd Vx,Hx,Wx avx
f2+d0 vaddsubps Vx,Hx,Wx avx
66+d1 vpsrlw Vx,Hx,Wdq avx y=avx2
66+d2 vpsrld Vx,Hx,Wdq avx y=avx2
66+d3 vpsrlq Vx,Hx,Wdq avx y=avx2
66+d4 vpaddq Vx,Hx,Wx avx y=avx2
66+d5 vpmullw Vx,Hx,Wx avx y=avx2
66+d6 vmovq Wq,Vdq avx
66+d7r vpmovmskb Gy,Ux avx y=avx2
66+d8 vpsubusb Vx,Hx,Wx avx y=avx2
66+d9 vpsubusw Vx,Hx,Wx avx y=avx2
66+da vpminub Vx,Hx,Wx avx y=avx2
66+db vpand Vx,Hx,Wx avx y=avx2
66+dc vpaddusb Vx,Hx,Wx avx y=avx2
66+dd vpaddusw Vx,Hx,Wx avx y=avx2
66+de vpmaxub Vx,Hx,Wx avx y=avx2
66+df vpandn Vx,Hx,Wx avx y=avx2
66+e0 vpavgb Vx,Hx,Wx avx y=avx2
66+e1 vpsraw Vx,Hx,Wdq avx y=avx2
66+e2 vpsrad Vx,Hx,Wdq avx y=avx2
66+e3 vpavgw Vx,Hx,Wx avx y=avx2
66+e4 vpmulhuw Vx,Hx,Wx avx y=avx2
66+e5 vpmulhw Vx,Hx,Wx avx y=avx2
66+e6 vcvttpd2dq Vdq,Wx avx
f3+e6 vcvtdq2pd Vx,Wh avx
f2+e6 vcvtpd2dq Vdq,Wx avx
66+e7m vmovntdq Mx,Vx avx aligned
66+e8 vpsubsb Vx,Hx,Wx avx y=avx2
66+e9 vpsubsw Vx,Hx,Wx avx y=avx2
66+ea vpminsw Vx,Hx,Wx avx y=avx2
66+eb vpor Vx,Hx,Wx avx y=avx2
66+ec vpaddsb Vx,Hx,Wx avx y=avx2
66+ed vpaddsw Vx,Hx,Wx avx y=avx2
66+ee vpmaxsw Vx,Hx,Wx avx y=avx2
66+ef vpxor Vx,Hx,Wx avx y=avx2
f2+f0m vlddqu Vx,Mx avx
66+f1 vpsllw Vx,Hx,Wdq avx y=avx2
66+f2 vpslld Vx,Hx,Wdq avx y=avx2
66+f3 vpsllq Vx,Hx,Wdq avx y=avx2
66+f4 vpmuludq Vx,Hx,Wx avx y=avx2
66+f5 vpmaddwd Vx,Hx,Wx avx y=avx2
66+f6 vpsadbw Vx,Hx,Wx avx y=avx2
66+f7r vmaskmovdqu Vdq,Udq avx
66+f8 vpsubb Vx,Hx,Wx avx y=avx2
66+f9 vpsubw Vx,Hx,Wx avx y=avx2
66+fa vpsubd Vx,Hx,Wx avx y=avx2
66+fb vpsubq Vx,Hx,Wx avx y=avx2
66+fc vpaddb Vx,Hx,Wx avx y=avx2
66+fd vpaddw Vx,Hx,Wx avx y=avx2
66+fe vpaddd Vx,Hx,Wx avx y=avx2
`
