/**
 * What both halves of the toy device agree on: one shared page with a number at 0, and what the back-end made of it at 4.
 * The front-end writes and notifies, the back-end answers and notifies.
 */

/** Byte offsets in the shared page. */
export const TOY_PAGE = { question: 0, answer: 4 } as const
