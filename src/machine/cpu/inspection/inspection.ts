/**
 * Looks at what a processor has cached, entry by entry: TLB, jump cache, decoded blocks. Reads the areas that generated
 * code uses and changes nothing in them. What the facts mean: machine/interface/inspection.ts.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import type { CacheFault, CacheInspection, CachedTranslation, CodeInspection } from '../../interface/inspection.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import type { Views } from '../core/core.ts'
import type { BankFacts } from '../core/translation-bank.ts'
import type { CodeCache } from '../code/code-cache.ts'
import { BLOCK, IP, RECORD } from '../layout/record.ts'
import { CONTEXT, JUMP, NO_TAG, PERMISSION, State, TLB, TLB_LOG } from '../layout/state.ts'

const TAGS = ['read', 'write', 'execute'] as const

/** One look at a processor. */
export function inspectProcessor(core: Views<'physical' | 'registers' | 'translations'>, code: CodeCache): CacheInspection {
  const { physical: memory, registers: { view, base } } = core
  const faults: CacheFault[] = []
  const facts = core.translations.facts()
  const generation = State.context.get(view, base) >>> CONTEXT.GENERATION
  const inUse = new Set([generation, ...facts.kept.map((bank) => bank.generation)].filter((one) => one !== 0))
  const jumps = jumpsOf(memory, base, { faults, code, inUse, newest: facts.generation })
  return {
    root: State.root.get(view, base) >>> PAGE_SHIFT,
    isUser: (State.permissions.get(view, base) & PERMISSION.USER) !== 0,
    translations: translationsOf(memory, facts.current, faults),
    jumps: jumps.get(generation) ?? [],
    kept: facts.kept.map((bank) => ({
      root: bank.root >>> PAGE_SHIFT, translations: translationsOf(memory, bank, faults).filter(({ address }) => !bank.isNoted(address)),
      jumps: jumps.get(bank.generation) ?? [],
    })),
    faults,
  }
}

function translationsOf(memory: MachineMemory, bank: BankFacts, faults: CacheFault[]): CachedTranslation[] {
  const found: CachedTranslation[] = []
  const logged = loggedEntries(memory, bank)
  for (let index = 0; index < bank.bytes / TLB.entryBytes; index += 1) {
    const entry = bank.entries + index * TLB.entryBytes
    const cached = translationAt(memory, entry, faults)
    if (cached === undefined) continue
    found.push(cached)
    const { frame, address } = cached
    const where = `the translation of ${hex(address)}`
    if (logged !== undefined && !logged.has(entry)) faults.push({ frame, what: `${where} is found by no flush` })
    // Entries are looked up by the page's number; one that stands elsewhere has been put together of two.
    if (!isPlaceOf(index, address)) faults.push({ frame, what: `${where} stands where no look-up finds it` })
    if (cached.write && codeLinesOf(memory, frame) !== 0) {
      faults.push({ frame, what: `${where} lets code be written unseen` })
    }
    if (cached.write && memory.isClean(frame)) faults.push({ frame, what: `${where} lets a watched frame be written unseen` })
    if (cached.write && memory.isBlank(frame)) faults.push({ frame, what: `${where} lets a frame that counts as zero be written unseen` })
  }
  return found
}

const isPlaceOf = (index: number, address: number): boolean =>
  (((Math.floor(address / PAGE_SIZE) - index) % TLB.entries) + TLB.entries) % TLB.entries === 0

/** Entries that the next full flush goes through; undefined when it goes through all. */
function loggedEntries({ view }: MachineMemory, { count, log }: BankFacts): Set<number> | undefined {
  if (count >= TLB_LOG.entries) return undefined
  return new Set(Array.from({ length: count }, (_, i) => view.getUint32(log + i * 4, true)))
}

function translationAt({ view, words }: MachineMemory, entry: number, faults: CacheFault[]): CachedTranslation | undefined {
  // Most entries are empty.
  const at = entry >> 2
  if (words[at + TLB.read / 4] === NO_TAG && words[at + TLB.write / 4] === NO_TAG && words[at + TLB.execute / 4] === NO_TAG) return undefined
  const set = TAGS.filter((kind) => view.getUint32(entry + TLB[kind], true) !== NO_TAG)
  const first = set[0]!
  const low = view.getUint32(entry + TLB[first], true)
  const address = signedFromParts(low, view.getUint32(entry + TLB[first] + 4, true))
  const frame = (view.getUint32(entry + TLB.delta, true) + low) >>> PAGE_SHIFT
  // One walk fills all tags.
  const isMixed = set.some((kind) => view.getBigUint64(entry + TLB[kind], true) !== view.getBigUint64(entry + TLB[first], true))
  if (isMixed) faults.push({ frame, what: `the translation of ${hex(address)} is one of several pages` })
  return { address, frame, read: set.includes('read'), write: set.includes('write'), execute: set.includes('execute') }
}

/** What is known of generations: the newest, and those that are in force or may come into force again. */
interface JumpSearch {
  readonly faults: CacheFault[]
  readonly code: CodeCache
  readonly newest: number
  readonly inUse: ReadonlySet<number>
}

/** Jumps that may be taken while a generation is in force, by that, to blocks that are still there. */
function jumpsOf(
  memory: MachineMemory, base: number, { faults, code, newest, inUse }: JumpSearch,
): Map<number, CachedTranslation[]> {
  const { view } = memory
  const live = liveBlocks(code)
  const found = new Map<number, CachedTranslation[]>([...inUse].map((generation) => [generation, []]))
  for (let index = 0; index < JUMP.entries; index += 1) {
    const entry = base + JUMP.offset + index * JUMP.entryBytes
    const context = view.getUint32(entry + JUMP.context, true)
    const address = signedFromParts(view.getUint32(entry, true), view.getUint32(entry + 4, true))
    const block = view.getUint32(entry + JUMP.block, true)
    const fault = (what: string): unknown => faults.push({ frame: -1, what: `the jump to ${hex(address)} ${what}` })
    const generation = context >>> CONTEXT.GENERATION
    if (generation === 0) continue
    if (generation > newest) {
      fault('is from a generation that has not been: it comes into use unasked')
      continue
    }
    const jumps = found.get(generation)
    if (jumps === undefined) {
      // Generations only grow, and the last one empties the cache. Of older ones only blocks are taken that look alive, see runtime/blocks.ts.
      if (block !== 0 && view.getUint32(block + BLOCK.mode, true) <= CONTEXT.MODE && !live.has(block)) fault('would be taken again to a block that has been dropped')
      continue
    }
    if (!live.has(block)) fault('leads to a block that has been dropped')
    else if ((view.getUint32(block + BLOCK.mode, true) & 0xff) !== (context & CONTEXT.MODE)) fault('leads to code of another mode')
    else jumps.push(...pagesOf(memory, { block, address, second: code.secondPage(block) }))
  }
  return found
}

/** Every block that can be entered, fronts too. */
function liveBlocks(code: CodeCache): Set<number> {
  const live = new Set(code.blocks())
  for (const [front] of code.fronts.all()) live.add(front)
  return live
}

/** What a jump takes its block's pages to be. */
function pagesOf(
  { view }: MachineMemory, jump: { readonly block: number; readonly address: number; readonly second: number },
): CachedTranslation[] {
  const rights = { read: false, write: false, execute: true }
  const page = Math.floor(jump.address / PAGE_SIZE) * PAGE_SIZE
  const first = { address: page, frame: view.getUint32(jump.block + BLOCK.physical, true) >>> PAGE_SHIFT, ...rights }
  if (jump.second === 0) return [first]
  return [first, { address: page + PAGE_SIZE, frame: jump.second >>> PAGE_SHIFT, ...rights }]
}

/** One look at all decoded code of a machine. */
export function inspectCode(memory: MachineMemory, code: CodeCache): CodeInspection {
  const faults: CacheFault[] = []
  const live = liveBlocks(code)
  const blocks = [...code.blocks()]
  for (const block of blocks) {
    const physical = memory.view.getUint32(block + BLOCK.physical, true)
    const onward = code.secondPage(block)
    const place = onward === 0 ? '' : ` that goes on in frame ${onward >>> PAGE_SHIFT}`
    const fault = (what: string): void => {
      faults.push({ frame: physical >>> PAGE_SHIFT, what: `code at ${hex(physical % PAGE_SIZE)}${place} ${what}` })
    }
    const { copy, bytes, end } = code.decodeAgain(block)
    const difference = bytes === 0 ? 'cannot be decoded any more' : compareBlocks(memory, { block, copy, end, live })
    if (difference !== undefined) fault(difference)
    const front = code.fronts.of(block)
    const other = front === 0 ? undefined : compareBlocks(memory, { block: front, copy, end, live, behind: RECORD.bytes })
    if (other !== undefined) fault(`has a front that ${other}`)
    if (!isWatched(memory, physical, Math.min(bytes, PAGE_SIZE - (physical % PAGE_SIZE)))) fault('is not watched')
    const rest = (physical % PAGE_SIZE) + bytes - PAGE_SIZE
    if (onward !== 0 && !isWatched(memory, onward, rest)) fault('is not watched in its second page')
  }
  return { blocks: blocks.length, faults }
}

/** Bit for each line of a frame that holds decoded code. */
const codeLinesOf = ({ words, layout }: MachineMemory, frame: number): number =>
  (words[(layout.codeLines >> 2) + frame * 2]! | words[(layout.codeLines >> 2) + frame * 2 + 1]!) >>> 0

/** True when a write to any of the bytes drops the code decoded from them. */
function isWatched({ words, layout }: MachineMemory, host: number, bytes: number): boolean {
  const lines = (layout.codeLines >> 2) + (host >>> PAGE_SHIFT) * 2
  for (let at = host % PAGE_SIZE; at < (host % PAGE_SIZE) + bytes; at += 1) {
    if (((words[lines + (at >> 11)]! >>> ((at >> 6) & 31)) & 1) === 0) return false
  }
  return true
}

/** What is compared: a block, its copy made anew with its end, and where links may lead; `behind`: bytes of records before those compared. */
interface Comparison {
  readonly behind?: number
  readonly block: number
  readonly copy: number
  readonly end: number
  readonly live: ReadonlySet<number>
}

/**
 * What differs between records that should be the same, or undefined. Branches alone may differ: by their link, which
 * leads to the block of their target's bytes.
 */
function compareBlocks(memory: MachineMemory, compared: Comparison): string | undefined {
  const { view } = memory
  const { block, copy, end, live, behind = 0 } = compared
  const other = 'differs from the bytes it was made of'
  if (view.getUint32(block + BLOCK.count, true) !== view.getUint32(copy + BLOCK.count, true)) return other
  const shift = block + behind - copy
  for (let record = copy + BLOCK.bytes; record < end; record += RECORD.bytes) {
    for (let at = 0; at < RECORD.immediate; at += 4) {
      if (view.getUint32(record + at, true) !== view.getUint32(record + at + shift, true)) return other
    }
    const link = view.getUint32(record + RECORD.immediate + shift, true)
    if (link === view.getUint32(record + RECORD.immediate, true)) continue
    if (view.getUint32(record + RECORD.immediate, true) !== 0) return other
    if (!live.has(link)) return 'has a branch that goes on in a block that has been dropped'
    if (!isLinked(view, { block, record, link })) return 'has a branch that goes on in another block than its target\'s'
  }
  return undefined
}

/** True when a link leads to where the branch goes, in the frame and mode of its own block. */
function isLinked(
  view: DataView, { block, record, link }: { readonly block: number; readonly record: number; readonly link: number },
): boolean {
  const ip = view.getUint16(record + RECORD.ip, true)
  const target = (ip & IP.OFFSET) + (ip >>> IP.LENGTH) + view.getInt32(record + RECORD.displacement, true)
  const page = Math.floor(view.getUint32(block + BLOCK.physical, true) / PAGE_SIZE) * PAGE_SIZE
  const isMode = (view.getUint32(block + BLOCK.mode, true) & 0xff) === view.getUint32(link + BLOCK.mode, true)
  return isMode && view.getUint32(link + BLOCK.physical, true) === page + target
}

const hex = (address: number): string => `${address < 0 ? '-' : ''}0x${Math.abs(address).toString(16)}`
