/**
 * Makes regions part of decoded code: compiles them as one module, puts their functions into table 0 and before the
 * records of the blocks at their entries; and takes them out again.
 */
import { instantiate } from '../../../../wasm/index.ts'
import type { MachineMemory } from '../../../memory/machine-memory.ts'
import type { CodeCache } from '../../code/code-cache.ts'
import { writePageList } from '../write/entry-check.ts'
import { LiveRegions } from './live-regions.ts'
import type { LiveModule, LiveRegion } from './live-regions.ts'
import { exportName, writeModule } from '../write/region-module.ts'
import type { PlacedRegion, RegionTranslator } from '../write/region-module.ts'
import type { Region } from '../form/region.ts'
import type { Slots } from './slots.ts'

/** A region, and the decoded block at its entry. */
export interface FoundRegion {
  readonly region: Region
  readonly block: number
}

/** What writes regions, and what they are bound to. */
export interface InstallerMakers {
  readonly translator: RegionTranslator
  /** The functions that the translator's regions call, and `isMapped`. */
  readonly functions: Readonly<Record<string, WebAssembly.ExportValue>>
  /** Places for regions' functions. */
  readonly slots: Slots
}

/** What regions are compiled with. */
export interface InstallerParts {
  readonly memory: MachineMemory
  readonly code: CodeCache
  /** What regions are written with; asked when there is one. */
  readonly makers: () => InstallerMakers
  readonly mostModules: number
  /** Milliseconds of some clock. */
  readonly now: () => number
}

/** Installs regions. */
export class Installer {
  readonly live = new LiveRegions()
  /** Regions and modules made, milliseconds spent on writing and on compiling. */
  readonly done = { regions: 0, modules: 0, dropped: 0, writing: 0, compiling: 0 }
  private readonly parts: InstallerParts

  constructor(parts: InstallerParts) {
    this.parts = parts
  }

  /**
   * Installs regions as one module, in place of others at the same entries. `sample` is the number of the sample that led
   * to it. False where there is no room: then all regions are gone, and there is. Throws HostRefusal where the host does not
   * compile: then there are those that were there.
   */
  install(found: readonly FoundRegion[], sample: number): boolean {
    const { code, now } = this.parts
    const { translator, functions: imported, slots } = this.parts.makers()
    const begun = now()
    const places = this.place(found)
    if (places === undefined) {
      this.removeAll()
      return false
    }
    while (this.live.moduleCount >= this.parts.mostModules) this.evict(this.live.stalest()!)
    const bytes = writeModule(places, translator)
    const written = now()
    const functions = instantiate(bytes, { env: { memory: this.parts.memory.memory, ...imported } })
    const module: LiveModule = { bytes: bytes.length, regions: new Set() }
    places.forEach(({ region, block, front }, index) => {
      const old = this.live.at(block)
      if (old !== undefined) this.drop(old)
      const slot = slots.take(functions[exportName(index)])
      code.fronts.set(front, slot)
      this.live.add(region, module, { block, front, slot, now: sample })
    })
    this.done.regions += places.length
    this.done.modules += 1
    this.done.writing += written - begun
    this.done.compiling += now() - written
    return true
  }

  /** Takes a region out: its entry goes on with the decoded records. */
  drop(live: LiveRegion): void {
    const { fronts } = this.parts.code
    if (fronts.of(live.block) === live.front) fronts.set(live.front, undefined)
    this.forget(live)
  }

  /** Decoded code is gone, and all fronts with it. */
  forgetAll(): void {
    for (const live of [...this.live.all()]) this.forget(live)
  }

  private forget(live: LiveRegion): void {
    this.parts.makers().slots.release(live.slot)
    this.live.remove(live)
    this.done.dropped += 1
  }

  private evict(module: LiveModule): void {
    for (const live of [...module.regions]) this.drop(live)
  }

  /** Makes room for everything: fronts, lists and places in the table. */
  private removeAll(): void {
    this.forgetAll()
    this.parts.code.removeFronts()
  }

  private place(found: readonly FoundRegion[]): (PlacedRegion & FoundRegion & { readonly front: number })[] | undefined {
    const { code, memory } = this.parts
    if (!this.parts.makers().slots.hasRoom(found.length)) return undefined
    const places = []
    for (const { region, block } of found) {
      const front = code.frontOf(block)
      const list = front === 0 ? undefined : writePageList(memory.view, code.fronts, region.pages)
      if (list === undefined) return undefined
      places.push({ region, block, front, list })
    }
    return places
  }
}
