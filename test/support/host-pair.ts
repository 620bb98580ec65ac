/** A host and the copy of it that was saved and loaded: they stand and go on together, and are compared part by part. */
import { expect } from 'vitest'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { loadHost, saveHost, type LoadHostOptions } from '../../src/toolstack/host/save-host.ts'
import type { Host, HostOptions } from '../../src/toolstack/index.ts'
import { compareStates } from '../../src/util/index.ts'

/** The two. */
export class HostPair {
  readonly copy: Host
  private readonly hosts: readonly Host[]
  private readonly halted: (() => void)[]

  private constructor(host: Host, copy: Host, halted: (() => void)[]) {
    this.copy = copy
    this.hosts = [host, copy]
    this.halted = halted
  }

  /** Halts a host and makes its copy. */
  static async of(host: Host, options: HostOptions, loading?: LoadHostOptions): Promise<HostPair> {
    const halted = [await insidesOf(host).parts.loop.halt()]
    const copy = await loadHost(structuredClone(await saveHost(host)), options, loading)
    halted.push(await insidesOf(copy).parts.loop.halt())
    return new HostPair(host, copy, halted)
  }

  /** Lets both go on by themselves, and ends the copy. */
  async end(): Promise<void> {
    for (const goOn of this.halted.splice(0)) goOn()
    await this.copy.shutdown()
  }

  /** Does the same to both, and lets what begins with it begin. */
  async both(work: (host: Host) => unknown): Promise<void> {
    for (const host of this.hosts) void work(host)
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Lets both run for so many instructions. */
  async run(instructions: number): Promise<void> {
    for (const host of this.hosts) {
      for (let done = 0; done < instructions; done += 1_000_000) await insidesOf(host).parts.loop.step(1_000_000)
    }
  }

  /** Runs both until something holds of both. */
  async until(met: (host: Host) => boolean): Promise<void> {
    for (let i = 0; i < 3000 && !this.hosts.every(met); i += 1) await this.run(1_000_000)
    expect(this.hosts.map(met)).toEqual([true, true])
  }

  /** Fails, naming the parts and the first places, when the two are not the same. */
  async same(): Promise<void> {
    const [first, second] = [await this.hosts[0]!.stateHash(), await this.hosts[1]!.stateHash()]
    const parts = Object.keys(first).filter((part) => first[part] !== second[part])
    if (parts.length === 0) return expect(second).toEqual(first)
    const states = [await saveHost(this.hosts[0]!), await saveHost(this.hosts[1]!)] as const
    const places = compareStates(...states).map(({ path, first: a, second: b }) => `${path}: ${String(a)} and ${String(b)}`)
    expect.fail(`the hosts differ in ${parts.join(', ')}\n${places.join('\n')}`)
  }

  /** What both show, which is the same. */
  text(domain: string): string {
    const [first, second] = this.hosts.map((host) => host.domain(domain).console.text())
    expect(second).toBe(first)
    return first!
  }
}
