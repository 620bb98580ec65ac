/**
 * Rows of instructions with a VEX prefix that selects map 0F38 or 0F3A: see vex-rows.ts, the first map.
 * Reference: Intel SDM volume 2, appendix A, tables.
 */

/** Rows of map 0F38. */
export const MAP_38_VEX = `
66+00 vpshufb Vx,Hx,Wx avx y=avx2
66+01 vphaddw Vx,Hx,Wx avx y=avx2
66+02 vphaddd Vx,Hx,Wx avx y=avx2
66+03 vphaddsw Vx,Hx,Wx avx y=avx2
66+04 vpmaddubsw Vx,Hx,Wx avx y=avx2
66+05 vphsubw Vx,Hx,Wx avx y=avx2
66+06 vphsubd Vx,Hx,Wx avx y=avx2
66+07 vphsubsw Vx,Hx,Wx avx y=avx2
66+08 vpsignb Vx,Hx,Wx avx y=avx2
66+09 vpsignw Vx,Hx,Wx avx y=avx2
66+0a vpsignd Vx,Hx,Wx avx y=avx2
66+0b vpmulhrsw Vx,Hx,Wx avx y=avx2
66+0c vpermilps Vx,Hx,Wx avx w0
66+0d vpermilpd Vx,Hx,Wx avx w0
66+0e vtestps Vx,Wx avx w0
66+0f vtestpd Vx,Wx avx w0
66+13 vcvtph2ps Vx,Wh f16c w0
66+16 vpermps Vqq,Hqq,Wqq avx2 l1 w0
66+17 vptest Vx,Wx avx
66+18m vbroadcastss Vx,Md avx w0
66+18r vbroadcastss Vx,Udq avx2 w0
66+19m vbroadcastsd Vqq,Mq avx l1 w0
66+19r vbroadcastsd Vqq,Udq avx2 l1 w0
66+1am vbroadcastf128 Vqq,Mdq avx l1 w0
66+1c vpabsb Vx,Wx avx y=avx2
66+1d vpabsw Vx,Wx avx y=avx2
66+1e vpabsd Vx,Wx avx y=avx2
66+20 vpmovsxbw Vx,Wh avx y=avx2
66+21 vpmovsxbd Vx,Wf avx y=avx2
66+22 vpmovsxbq Vx,We avx y=avx2
66+23 vpmovsxwd Vx,Wh avx y=avx2
66+24 vpmovsxwq Vx,Wf avx y=avx2
66+25 vpmovsxdq Vx,Wh avx y=avx2
66+28 vpmuldq Vx,Hx,Wx avx y=avx2
66+29 vpcmpeqq Vx,Hx,Wx avx y=avx2
66+2am vmovntdqa Vx,Mx avx y=avx2 aligned
66+2b vpackusdw Vx,Hx,Wx avx y=avx2
66+2cm vmaskmovps Vx,Hx,Mx avx w0
66+2dm vmaskmovpd Vx,Hx,Mx avx w0
66+2em vmaskmovps Mx,Hx,Vx avx w0
66+2fm vmaskmovpd Mx,Hx,Vx avx w0
66+30 vpmovzxbw Vx,Wh avx y=avx2
66+31 vpmovzxbd Vx,Wf avx y=avx2
66+32 vpmovzxbq Vx,We avx y=avx2
66+33 vpmovzxwd Vx,Wh avx y=avx2
66+34 vpmovzxwq Vx,Wf avx y=avx2
66+35 vpmovzxdq Vx,Wh avx y=avx2
66+36 vpermd Vqq,Hqq,Wqq avx2 l1 w0
66+37 vpcmpgtq Vx,Hx,Wx avx y=avx2
66+38 vpminsb Vx,Hx,Wx avx y=avx2
66+39 vpminsd Vx,Hx,Wx avx y=avx2
66+3a vpminuw Vx,Hx,Wx avx y=avx2
66+3b vpminud Vx,Hx,Wx avx y=avx2
66+3c vpmaxsb Vx,Hx,Wx avx y=avx2
66+3d vpmaxsd Vx,Hx,Wx avx y=avx2
66+3e vpmaxuw Vx,Hx,Wx avx y=avx2
66+3f vpmaxud Vx,Hx,Wx avx y=avx2
66+40 vpmulld Vx,Hx,Wx avx y=avx2
66+41 vphminposuw Vdq,Wdq avx
66+45 vpsrlvd Vx,Hx,Wx avx2 w0
66+45 vpsrlvq Vx,Hx,Wx avx2 w1
66+46 vpsravd Vx,Hx,Wx avx2 w0
66+47 vpsllvd Vx,Hx,Wx avx2 w0
66+47 vpsllvq Vx,Hx,Wx avx2 w1
66+58 vpbroadcastd Vx,Wd avx2 w0
66+59 vpbroadcastq Vx,Wq avx2 w0
66+5am vbroadcasti128 Vqq,Mdq avx2 l1 w0
66+78 vpbroadcastb Vx,Wb avx2 w0
66+79 vpbroadcastw Vx,Ww avx2 w0
66+8cm vpmaskmovd Vx,Hx,Mx avx2 w0
66+8cm vpmaskmovq Vx,Hx,Mx avx2 w1
66+8em vpmaskmovd Mx,Hx,Vx avx2 w0
66+8em vpmaskmovq Mx,Hx,Vx avx2 w1
66+90m vpgatherdd Vx,Md,Hx avx2 w0 vsib=x
66+90m vpgatherdq Vx,Mq,Hx avx2 w1 vsib=dq
66+91m vpgatherqd Vdq,Md,Hdq avx2 w0 anyl vsib=x
66+91m vpgatherqq Vx,Mq,Hx avx2 w1 vsib=x
66+92m vgatherdps Vx,Md,Hx avx2 w0 vsib=x
66+92m vgatherdpd Vx,Mq,Hx avx2 w1 vsib=dq
66+93m vgatherqps Vdq,Md,Hdq avx2 w0 anyl vsib=x
66+93m vgatherqpd Vx,Mq,Hx avx2 w1 vsib=x
66+96 vfmaddsub132ps Vx,Hx,Wx fma w0
66+96 vfmaddsub132pd Vx,Hx,Wx fma w1
66+97 vfmsubadd132ps Vx,Hx,Wx fma w0
66+97 vfmsubadd132pd Vx,Hx,Wx fma w1
66+98 vfmadd132ps Vx,Hx,Wx fma w0
66+98 vfmadd132pd Vx,Hx,Wx fma w1
66+99 vfmadd132ss Vdq,Hdq,Wd fma w0 lig
66+99 vfmadd132sd Vdq,Hdq,Wq fma w1 lig
66+9a vfmsub132ps Vx,Hx,Wx fma w0
66+9a vfmsub132pd Vx,Hx,Wx fma w1
66+9b vfmsub132ss Vdq,Hdq,Wd fma w0 lig
66+9b vfmsub132sd Vdq,Hdq,Wq fma w1 lig
66+9c vfnmadd132ps Vx,Hx,Wx fma w0
66+9c vfnmadd132pd Vx,Hx,Wx fma w1
66+9d vfnmadd132ss Vdq,Hdq,Wd fma w0 lig
66+9d vfnmadd132sd Vdq,Hdq,Wq fma w1 lig
66+9e vfnmsub132ps Vx,Hx,Wx fma w0
66+9e vfnmsub132pd Vx,Hx,Wx fma w1
66+9f vfnmsub132ss Vdq,Hdq,Wd fma w0 lig
66+9f vfnmsub132sd Vdq,Hdq,Wq fma w1 lig
66+a6 vfmaddsub213ps Vx,Hx,Wx fma w0
66+a6 vfmaddsub213pd Vx,Hx,Wx fma w1
66+a7 vfmsubadd213ps Vx,Hx,Wx fma w0
66+a7 vfmsubadd213pd Vx,Hx,Wx fma w1
66+a8 vfmadd213ps Vx,Hx,Wx fma w0
66+a8 vfmadd213pd Vx,Hx,Wx fma w1
66+a9 vfmadd213ss Vdq,Hdq,Wd fma w0 lig
66+a9 vfmadd213sd Vdq,Hdq,Wq fma w1 lig
66+aa vfmsub213ps Vx,Hx,Wx fma w0
66+aa vfmsub213pd Vx,Hx,Wx fma w1
66+ab vfmsub213ss Vdq,Hdq,Wd fma w0 lig
66+ab vfmsub213sd Vdq,Hdq,Wq fma w1 lig
66+ac vfnmadd213ps Vx,Hx,Wx fma w0
66+ac vfnmadd213pd Vx,Hx,Wx fma w1
66+ad vfnmadd213ss Vdq,Hdq,Wd fma w0 lig
66+ad vfnmadd213sd Vdq,Hdq,Wq fma w1 lig
66+ae vfnmsub213ps Vx,Hx,Wx fma w0
66+ae vfnmsub213pd Vx,Hx,Wx fma w1
66+af vfnmsub213ss Vdq,Hdq,Wd fma w0 lig
66+af vfnmsub213sd Vdq,Hdq,Wq fma w1 lig
66+b6 vfmaddsub231ps Vx,Hx,Wx fma w0
66+b6 vfmaddsub231pd Vx,Hx,Wx fma w1
66+b7 vfmsubadd231ps Vx,Hx,Wx fma w0
66+b7 vfmsubadd231pd Vx,Hx,Wx fma w1
66+b8 vfmadd231ps Vx,Hx,Wx fma w0
66+b8 vfmadd231pd Vx,Hx,Wx fma w1
66+b9 vfmadd231ss Vdq,Hdq,Wd fma w0 lig
66+b9 vfmadd231sd Vdq,Hdq,Wq fma w1 lig
66+ba vfmsub231ps Vx,Hx,Wx fma w0
66+ba vfmsub231pd Vx,Hx,Wx fma w1
66+bb vfmsub231ss Vdq,Hdq,Wd fma w0 lig
66+bb vfmsub231sd Vdq,Hdq,Wq fma w1 lig
66+bc vfnmadd231ps Vx,Hx,Wx fma w0
66+bc vfnmadd231pd Vx,Hx,Wx fma w1
66+bd vfnmadd231ss Vdq,Hdq,Wd fma w0 lig
66+bd vfnmadd231sd Vdq,Hdq,Wq fma w1 lig
66+be vfnmsub231ps Vx,Hx,Wx fma w0
66+be vfnmsub231pd Vx,Hx,Wx fma w1
66+bf vfnmsub231ss Vdq,Hdq,Wd fma w0 lig
66+bf vfnmsub231sd Vdq,Hdq,Wq fma w1 lig
np+f2 andn Gy,By,Ey bmi1 u=ap
np+f3/1 blsr By,Ey bmi1 u=ap
np+f3/2 blsmsk By,Ey bmi1 u=ap
np+f3/3 blsi By,Ey bmi1 u=ap
np+f5 bzhi Gy,Ey,By bmi2 u=ap
f3+f5 pext Gy,By,Ey bmi2
f2+f5 pdep Gy,By,Ey bmi2
f2+f6 mulx Gy,By,Ey bmi2
np+f7 bextr Gy,Ey,By bmi1 u=sap
66+f7 shlx Gy,Ey,By bmi2
f3+f7 sarx Gy,Ey,By bmi2
f2+f7 shrx Gy,Ey,By bmi2
`

/** Rows of map 0F3A. */
export const MAP_3A_VEX = `
66+00 vpermq Vqq,Wqq,Ib avx2 l1 w1
66+01 vpermpd Vqq,Wqq,Ib avx2 l1 w1
66+02 vpblendd Vx,Hx,Wx,Ib avx2 w0
66+04 vpermilps Vx,Wx,Ib avx w0
66+05 vpermilpd Vx,Wx,Ib avx w0
66+06 vperm2f128 Vqq,Hqq,Wqq,Ib avx l1 w0
66+08 vroundps Vx,Wx,Ib avx
66+09 vroundpd Vx,Wx,Ib avx
66+0a vroundss Vdq,Hdq,Wd,Ib avx lig
66+0b vroundsd Vdq,Hdq,Wq,Ib avx lig
66+0c vblendps Vx,Hx,Wx,Ib avx
66+0d vblendpd Vx,Hx,Wx,Ib avx
66+0e vpblendw Vx,Hx,Wx,Ib avx y=avx2
66+0f vpalignr Vx,Hx,Wx,Ib avx y=avx2
66+14 vpextrb Rd/Mb,Vdq,Ib avx
66+15 vpextrw Rd/Mw,Vdq,Ib avx
66+16 vpextrd Ey,Vdq,Ib avx w0
66+16 vpextrd Ey,Vdq,Ib avx w1 o64
66+17 vextractps Ed,Vdq,Ib avx
66+18 vinsertf128 Vqq,Hqq,Wdq,Ib avx l1 w0
66+19 vextractf128 Wdq,Vqq,Ib avx l1 w0
66+1d vcvtps2ph Wh,Vx,Ib f16c w0
66+20 vpinsrb Vdq,Hdq,Rd/Mb,Ib avx
66+21 vinsertps Vdq,Hdq,Wd,Ib avx
66+22 vpinsrd Vdq,Hdq,Ey,Ib avx w0
66+22 vpinsrd Vdq,Hdq,Ey,Ib avx w1 o64
66+38 vinserti128 Vqq,Hqq,Wdq,Ib avx2 l1 w0
66+39 vextracti128 Wdq,Vqq,Ib avx2 l1 w0
66+40 vdpps Vx,Hx,Wx,Ib avx
66+41 vdppd Vdq,Hdq,Wdq,Ib avx
66+42 vmpsadbw Vx,Hx,Wx,Ib avx y=avx2
66+46 vperm2i128 Vqq,Hqq,Wqq,Ib avx2 l1 w0
66+4a vblendvps Vx,Hx,Wx,Lx avx w0
66+4b vblendvpd Vx,Hx,Wx,Lx avx w0
66+4c vpblendvb Vx,Hx,Wx,Lx avx w0 y=avx2
66+60 vpcmpestrm Vdq,Wdq,Ib avx
66+61 vpcmpestri Vdq,Wdq,Ib avx
66+62 vpcmpistrm Vdq,Wdq,Ib avx
66+63 vpcmpistri Vdq,Wdq,Ib avx
f2+f0 rorx Gy,Ey,Ib bmi2
`
