/**
 * Where the file systems of a disk may begin: the partitions of an MBR or a GPT, in the order of their tables, or the disk
 * as a whole. Which of them is to be booted is not asked here.
 * Reference: UEFI specification, chapter 5; tools/pygrub/src/pygrub, get_partition_offsets.
 */
import { u64, viewOf, type DiskImageReader } from './image-reader.ts'

const SECTOR = 512
const MBR = { signature: 0x1fe, entries: 0x1be, entrySize: 16, count: 4, type: 4, start: 8 } as const
const MAGIC = 0xaa55
/** The one partition of an MBR that covers a GPT. */
const PROTECTIVE = 0xee
/** Partitions that hold other partitions: there is no file system at their start. */
const EXTENDED = new Set([0x05, 0x0f, 0x85])
const GPT = { entriesAt: 72, count: 80, entrySize: 84, start: 32 } as const
/** Entries that are looked at: tables have 128. */
const MAX_ENTRIES = 256

/** Starts of the partitions in a GPT; empty where there is none. */
async function gptStarts(disk: DiskImageReader): Promise<readonly number[]> {
  if (disk.size < 2 * SECTOR) return []
  const header = viewOf(await disk.read(SECTOR, SECTOR))
  const [size, table] = [header.getUint32(GPT.entrySize, true), u64(header, GPT.entriesAt) * SECTOR]
  if (size < 128 || size > 4096) return []
  const starts: number[] = []
  const count = Math.min(MAX_ENTRIES, header.getUint32(GPT.count, true))
  for (let i = 0; i < count && table + (i + 1) * size <= disk.size; i += 1) {
    const start = u64(viewOf(await disk.read(table + i * size, size)), GPT.start) * SECTOR
    if (start !== 0) starts.push(start)
  }
  return starts
}

/** Bytes at which file systems may begin; 0 alone for a disk without partitions. */
export async function fileSystemStarts(disk: DiskImageReader): Promise<readonly number[]> {
  if (disk.size < SECTOR) return [0]
  const sector = viewOf(await disk.read(0, SECTOR))
  if (sector.getUint16(MBR.signature, true) !== MAGIC) return [0]
  const starts: number[] = []
  for (let i = 0; i < MBR.count; i += 1) {
    const entry = MBR.entries + i * MBR.entrySize
    const type = sector.getUint8(entry + MBR.type)
    const start = sector.getUint32(entry + MBR.start, true) * SECTOR
    if (start === 0) continue
    if (type === PROTECTIVE) {
      starts.push(...(await gptStarts(disk)))
      break
    }
    if (!EXTENDED.has(type)) starts.push(start)
  }
  // A boot sector without partitions has the same signature.
  const found = [...new Set(starts)].filter((start) => start < disk.size)
  return found.length === 0 ? [0] : found
}
