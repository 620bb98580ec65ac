/** The arithmetic units of one processor: soft-float for x87 and SSE with their scratch space. */
import { Float80, FusedOperands, SseArithmetic, X87Arithmetic, X87Transcendental } from '../../softfloat/index.ts'

/** What the floating-point handlers compute with. */
export class FloatUnits {
  readonly sse = new SseArithmetic()
  readonly fused = new FusedOperands()
  readonly x87 = new X87Arithmetic()
  readonly transcendental = new X87Transcendental(this.x87)
  /** Operands of the instruction at hand. */
  readonly first = new Float80()
  readonly second = new Float80()
  /** What a store to memory writes. */
  readonly words = { word0: 0, word1: 0, word2: 0 }
  /** Lanes of a packed result, until it is known that nothing traps. */
  readonly lanes: Int32Array = new Int32Array(8)
}
