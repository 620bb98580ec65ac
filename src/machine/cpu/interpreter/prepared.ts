/**
 * Takes a module that the build has written out of its packing: a millisecond, where writing it in a process that has just begun takes
 * thirty. Reference: the description of LZ4 blocks.
 */
import type { OwnBytes } from '../../../util/index.ts'
import type { MicroIndex } from '../uops/micro-table.ts'
import { PREPARED_MODULES, type PackedModule, type PreparedModule } from './prepared-modules.ts'

/** Least length of a repetition. */
const LEAST_MATCH = 4
/** A length of this value goes on in further bytes. */
const GOES_ON = 15

/** The module of a name; undefined where none was prepared. */
export function preparedModule(name: PreparedModule): OwnBytes | undefined {
  const found = PREPARED_MODULES[name]
  return found === undefined ? undefined : unpackModule(found)
}

/** The index of the micro-operations; undefined where none was prepared. */
export function preparedIndex(): MicroIndex | undefined {
  const found = PREPARED_MODULES.index
  return found === undefined ? undefined : JSON.parse(new TextDecoder().decode(unpackModule(found))) as MicroIndex
}

/** What a packed module unpacks to; it comes from our own build. */
export function unpackModule({ packed, length }: PackedModule): OwnBytes {
  const text = atob(packed)
  const source = new Uint8Array(text.length)
  for (let at = 0; at < source.length; at += 1) source[at] = text.charCodeAt(at)
  const out = new Uint8Array(length)
  let [from, to] = [0, 0]
  // By loops alone, which V8 compiles while they run: calls for each of some ten thousand short pieces take a third longer in a process that has just begun.
  while (from < source.length) {
    const token = source[from++]!
    let literals = token >> 4
    if (literals === GOES_ON) for (let more = 255; more === 255; literals += more) more = source[from++]!
    for (const end = to + literals; to < end; to += 1) out[to] = source[from++]!
    // The last has no repetition.
    if (from >= source.length) break
    const distance = source[from]! | (source[from + 1]! << 8)
    from += 2
    let repeated = token & GOES_ON
    if (repeated === GOES_ON) for (let more = 255; more === 255; repeated += more) more = source[from++]!
    for (const end = to + repeated + LEAST_MATCH; to < end; to += 1) out[to] = out[to - distance]!
  }
  return out
}
