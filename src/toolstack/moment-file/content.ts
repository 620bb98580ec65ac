/** What a moment's file holds: a head, pages at their numbers in memory and in the frame table, facts of memory, and the parts of a host. */
import { shape, type SavedPart, type SavedTree, type StateOf } from '../../util/index.ts'
import type { PageIndex, PhysicalMemory } from '../../machine/index.ts'

/** Frames that a memory can have, at most, and words of a map of them. */
const MOST_FRAMES = 2 ** 20
const frames = /* @__PURE__ */ shape.array(Uint32Array, 0, MOST_FRAMES)
const plain = (value: unknown): string | undefined => (typeof value === 'object' && value !== null ? undefined : ' must be a record')

/** What a file begins with. */
export const headShape = /* @__PURE__ */ shape.record({
  label: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(1024)), time: shape.time,
  /** What the host was booted with, as far as it is plain data. */
  options: plain,
  /** Numbers of memory's pages, and of the frame table's. */
  pages: /* @__PURE__ */ shape.whole(1, MOST_FRAMES), rows: /* @__PURE__ */ shape.whole(1, MOST_FRAMES),
})
/** See {@link headShape}. */
export type FileHead = StateOf<typeof headShape>

/** What memory is beside its pages. */
export const factsShape = /* @__PURE__ */ shape.record({ silent: frames, handedOut: frames, clean: frames })
/** See {@link factsShape}. */
export type FileFacts = StateOf<typeof factsShape>

/** One part of a host, with its place in the tree. */
export const partShape = /* @__PURE__ */ shape.record({
  path: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.text(1024), 32), version: shape.word,
  /** Absent in a tree, which has parts of its own. */
  leaf: shape.flag, state: (_: unknown): string | undefined => undefined,
})

/** Pages that have not been read yet. */
export interface HeldContent {
  /** Reads what stands at memory's frames into a memory that nothing has been done with. Rejects with INVALID_STREAM, IO. */
  fill(memory: PhysicalMemory): Promise<void>
}

/** All of it. */
export interface FileContent {
  readonly head: FileHead
  readonly memory: PageIndex
  readonly rows: PageIndex
  readonly facts: FileFacts
  readonly tree: SavedTree
  /** For a machine that begins there, where the file is held. */
  readonly held?: HeldContent | undefined
}

/** The parts of a tree, each before those below it. */
export function* partsOf(saved: SavedTree | SavedPart, path: readonly string[] = []): Generator<StateOf<typeof partShape>> {
  if (!('parts' in saved)) return yield { path, version: saved.version, leaf: true, state: saved.state }
  yield { path, version: saved.version, leaf: false, state: undefined }
  for (const [name, below] of Object.entries(saved.parts)) yield* partsOf(below, [...path, name])
}
