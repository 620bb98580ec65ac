/** How much memory a host's machine has for its guests' MiB, and how many MiB a host can have at most. */
import { mostMemoryBytes } from '../../machine/index.ts'

const MEBIBYTE = 2 ** 20

/**
 * vCPUs that the PV domains of a host can have together, idle ones of `maxvcpus` too. Each takes 332 KiB of the machine's
 * address space, and of real memory only once it is used.
 */
export const MOST_VCPUS = 256

/** MiB from which on the table of 64-bit guests takes whole superpages; the machine's own areas are below them. */
const LARGE_HOST = 400
/** What a table takes more for being made of superpages, at most. */
const SUPERPAGE = 2 * MEBIBYTE

/** Bytes that the hypervisor keeps for itself: twelve for each frame of the host, eight for 64-bit guests to read and four for 32-bit ones, and the tables that map them. */
const overheadBytes = (mebibytes: number): number => Math.ceil(mebibytes * 3 / 1024) * MEBIBYTE + MEBIBYTE + (mebibytes < LARGE_HOST ? 0 : SUPERPAGE)

/** Bytes of the machine of a host that gives `mebibytes` to its domains. */
export const machineBytes = (mebibytes: number): number => mebibytes * MEBIBYTE + overheadBytes(mebibytes)

/** MiB that the domains of a host can have together, dom0 included: what one machine holds. */
export function mostMebibytes(): number {
  const bytes = mostMemoryBytes(MOST_VCPUS)
  let mebibytes = Math.floor(bytes / MEBIBYTE)
  while (machineBytes(mebibytes) > bytes) mebibytes -= 1
  return mebibytes
}
