/**
 * What CPUID has answered to one vCPU, kept as long as nothing has changed that it follows from: processors ask it what is
 * offered with each instruction that has to be (RDTSCP, moves to control registers), and kernels that wait do that for long.
 */
import type { CpuidAnswer } from '../../../x86/index.ts'
import type { CpuidTable } from '../../domains/cpu-policy.ts'
import type { TscFacts, TscScale } from '../../time/index.ts'

/** What answers follow from, beside what is asked. */
interface Circumstances {
  readonly own: CpuidTable | undefined
  readonly isXsaveOn: boolean
  readonly xcr0: number
  readonly tsc: TscScale | undefined
  readonly time: TscFacts | undefined
}

/** Subleaves that are kept: no leaf has more. */
const KEPT = 64

/** Answers to one vCPU. */
export class CpuidAnswers {
  private readonly answers = new Map<number, CpuidAnswer>()
  private seen: Circumstances = { own: undefined, isXsaveOn: false, xcr0: 0, tsc: undefined, time: undefined }

  /** The answer to a question; `ask` makes it where it is not known. */
  of({ leaf, subleaf }: { readonly leaf: number; readonly subleaf: number }, now: Circumstances, ask: () => CpuidAnswer): CpuidAnswer {
    const { own, isXsaveOn, xcr0, tsc, time } = this.seen
    if (own !== now.own || isXsaveOn !== now.isXsaveOn || xcr0 !== now.xcr0 || tsc !== now.tsc || time !== now.time) {
      this.answers.clear()
      this.seen = now
    }
    if (subleaf >= KEPT) return ask()
    const key = leaf * KEPT + subleaf
    const known = this.answers.get(key)
    if (known !== undefined) return known
    const answer = ask()
    // A guest may ask for any leaf.
    if (this.answers.size < KEPT) this.answers.set(key, answer)
    return answer
  }
}
