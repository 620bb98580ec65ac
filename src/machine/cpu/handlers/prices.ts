/**
 * What instructions cost that TypeScript carries out, where budgets count work (`accounting: 'work'`): as many plain
 * instructions as take about as long, on top of the one that they are. The price of an instruction never depends on
 * anything but the instruction and its operands, so that virtual time is the same whatever lies in caches and wherever a
 * run is cut. Measured by `npm run bench -- fairness`, at 2 ns for a plain instruction.
 */

/** Entering and leaving a handler, and what most of them do. */
const USUAL = 20

/** Prices in instructions by handler, where it is not the usual one. */
const PRICES: readonly (readonly [price: number, handlers: string])[] = [
  // Moving the x87's stack: registers are unpacked and packed again.
  [60, `fld fst fstp fild fist fistp fisttp fxch fld1 fldl2t fldl2e fldpi fldlg2 fldln2 fldz fabs fchs fxam ftst fcom fcomp
    fcompp fucom fucomp fucompp fcomi fcomip fucomi fucomip ficom ficomp fcmovb fcmovnb fcmove fcmovne fcmovbe fcmovnbe
    fcmovu fcmovnu`],
  [150, `fadd faddp fiadd fsub fsubp fisub fsubr fsubrp fisubr fmul fmulp fimul fdiv fdivp fidiv fdivr fdivrp fidivr frndint
    fxtract`],
  [300, 'fsqrt fscale fbld fbstp fldenv fnstenv fninit'],
  [600, 'fprem fprem1'],
  // Worked out in whole numbers of a thousand bits and more.
  [3000, 'fsin fcos fsincos fptan fpatan f2xm1 fyl2x fyl2xp1'],
  [1000, 'frstor fnsave'],
  [1600, 'fxsave fxrstor'],
  [120, 'div idiv'],
  // Operations in software, where the processor underneath does not round or flag as x86 does.
  [100, `addss addsd subss subsd mulss mulsd divss divsd sqrtss sqrtsd minss minsd maxss maxsd cmpss cmpsd roundss roundsd rcpss
    rsqrtss comiss comisd ucomiss ucomisd cvtss2sd cvtsd2ss cvtsi2ss.32 cvtsi2sd.32 cvtss2si.32 cvttss2si.32 cvtsd2si.32
    cvttsd2si.32 cvtsi2ss.64 cvtsi2sd.64 cvtss2si.64 cvttss2si.64 cvtsd2si.64 cvttsd2si.64`],
  [300, `addps addpd subps subpd mulps mulpd divps divpd sqrtps sqrtpd minps minpd maxps maxpd cmpps cmppd roundps roundpd rcpps
    rsqrtps haddps haddpd hsubps hsubpd addsubps addsubpd cvtps2pd cvtpd2ps cvtdq2ps cvtdq2pd cvtps2dq cvttps2dq cvtpd2dq
    cvttpd2dq cvtpi2ps cvtpi2pd cvtps2pi cvttps2pi cvtpd2pi cvttpd2pi`],
  [600, 'dpps dppd pcmpestrm pcmpestri pcmpistrm pcmpistri'],
  [100, 'mpsadbw phminposuw maskmov random cpuid load-segment load-far pop-segment.16 pop-segment.32 pop-segment.64 lar lsl verr verw'],
  [300, 'iret retf far-call.16 far-call.32 far-call.64 far-jmp.16 far-jmp.32 far-jmp.64 pusha popa'],
]

/** What each level of ENTER costs: a checked load and a checked store. */
export const ENTER_LEVEL = 400

/**
 * What decoding costs for each line of 64 bytes from which code is taken for the first time since it was written. When the
 * cache of decoded code is full (48 MiB: some three million instructions of all guests together), everything is fresh
 * again: the one place where what others execute shows in a guest's time, as nothing else bounds what a guest with more
 * code than that costs. A block that is begun in its middle, because a run was cut there, may reach up to 47 instructions
 * further, and so pays for a line a little earlier than it would have.
 */
export const CODE_LINE = 3000

/** Prices of handlers by their numbers. */
export function pricesOf(names: readonly string[]): Uint16Array {
  const prices = new Map(PRICES.flatMap(([price, handlers]) => handlers.split(/\s+/).map((name) => [name, price] as const)))
  return Uint16Array.from(names, (name) => prices.get(name) ?? USUAL)
}

/** Handlers that have a price of their own, for the test that each of them exists. */
export const PRICED_HANDLERS: readonly string[] = /* @__PURE__ */ PRICES.flatMap(([, handlers]) => handlers.split(/\s+/))
