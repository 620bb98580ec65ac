/** What may come between what is done at a keyboard and its guest, so that tests see what guests do without it. */

/** Something that is done at a keyboard. */
export interface InputFacts {
  readonly domid: number
  /** Number of the device. */
  readonly keyboard: number
  readonly kind: 'key' | 'pointer'
}

/** What becomes of it. */
export interface InputEffect {
  /** It never comes. */
  readonly isLost?: true
  /** Nanoseconds by which it comes later; those behind it wait. */
  readonly delay?: number
}

/** Stands between. */
export interface KeyboardInterference {
  /** Asked of each input; undefined: nothing is done to it. */
  input(facts: InputFacts): InputEffect | undefined
}
