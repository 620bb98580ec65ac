/** What may come between what a guest draws and whoever looks, so that tests see what comes of it. */

/** A rectangle that a guest says to have drawn. */
export interface UpdateFacts {
  readonly domid: number
  /** Number of the device. */
  readonly framebuffer: number
}

/** Stands between. */
export interface FramebufferInterference {
  /** Asked of each update: whether it is overlooked. The pixels are the guest's memory all the same. */
  isLost(facts: UpdateFacts): boolean
}
