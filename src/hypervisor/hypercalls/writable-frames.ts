/**
 * Frames that stay writable while the hypervisor writes to them: what registers an area in a guest's memory asks the frame
 * types. Whose they are and what else they may be is not known here.
 */

/** Frames that a hypercall keeps writable for the hypervisor's own use. */
export interface WritableFrames {
  /** Takes a reference and a type reference on a frame of domain `owner`: 0 or a negative error number. */
  getPageAndType(mfn: number, type: number, owner: number): number
  /** Gives both back. */
  putPageAndType(mfn: number): void
}
