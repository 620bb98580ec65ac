/** The control byte of fused multiplications: what is multiplied with what, which signs are turned over, what numbers there are. */

/** Fields by their lowest bits; `order` is a mask: 0 for 132, 1 for 213, 2 for 231. */
export const FMA_CONTROL = {
  order: 3, negatesProduct: 2,
  /** 0 adds, 1 subtracts, 2 subtracts in even lanes and adds in odd ones, 3 the other way round. */
  addend: 3,
  /** 0 packed singles, 1 packed doubles, 2 a single, 3 a double. */
  kind: 5,
} as const
