/** Frames that a hypercall keeps writable for the hypervisor's own use. */
export interface WritableFrames {
  /** Takes a reference and a type reference on a frame of domain `owner`: 0 or a negative error number. */
  getPageAndType(mfn: number, type: number, owner: number): number
  /** Gives both back. */
  putPageAndType(mfn: number): void
}
