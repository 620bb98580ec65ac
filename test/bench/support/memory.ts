/**
 * What a process keeps in memory, and how much of that is a guest's own. Linux tells both in /proc: a mapping's place in
 * `smaps`, and for each page whether it is present in `pagemap`. Elsewhere pages that hold anything but zeros are
 * counted, which are fewer than those in memory.
 * Reference: Linux Documentation/filesystems/proc.rst, Documentation/admin-guide/mm/pagemap.rst.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Domain, Host } from '../../../src/index.ts'

const PAGE = 4096
const ENTRY = 8
/** Bit 63 of a page's entry, in its last byte. */
const PRESENT = 0x80

/** What the collector's helpers need to give memory back after it has found it free. */
const PAUSE = 200

/** Bytes of a process in memory, after what nobody uses any more has been let go of. */
export async function residentBytes(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let i = 0; i < 3; i += 1) {
    collect()
    await new Promise((resolve) => setTimeout(resolve, PAUSE))
  }
  return process.memoryUsage().rss
}

/** Address of the mapping that holds a buffer of `size` bytes: the smallest writable one that can, in use. */
function addressOf(size: number): number | undefined {
  const mappings = readFileSync('/proc/self/smaps', 'latin1').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).map((text) => ({
    address: Number.parseInt(text, 16), isWritable: /^\S+ rw/.test(text),
    size: Number(/Size: +(\d+)/.exec(text)?.[1]) * 1024, resident: Number(/Rss: +(\d+)/.exec(text)?.[1]),
  }))
  const fitting = mappings.filter((one) => one.isWritable && one.size >= size && one.resident > 0)
  return fitting.sort((a, b) => a.size - b.size)[0]?.address
}

/** Bytes of a domain's memory that are in the process's. */
export function guestBytes({ hypervisor }: Host, { id }: Domain): number {
  const frames = hypervisor.domainFrames(id)
  const { buffer } = hypervisor.frameBytes(id, frames[0]!)
  const address = process.platform === 'linux' ? addressOf(buffer.byteLength) : undefined
  if (address === undefined) {
    const holds = (mfn: number): boolean => new Int32Array(buffer, mfn * PAGE, PAGE / 4).some((word) => word !== 0)
    return frames.filter(holds).length * PAGE
  }
  const entries = Buffer.alloc((buffer.byteLength / PAGE) * ENTRY)
  const file = openSync('/proc/self/pagemap', 'r')
  readSync(file, entries, 0, entries.length, (address / PAGE) * ENTRY)
  closeSync(file)
  return frames.filter((mfn) => (entries[mfn * ENTRY + ENTRY - 1]! & PRESENT) !== 0).length * PAGE
}
