/** Moving a domain from one host to another through a pipe that may be cut at any byte, and what became of it. */
import {
  openOutput, transportPair, type ByteOutput, type Domain, type Host, type MigrateOptions, type MigrationSummary, type MigrationTransport,
} from '../../toolstack/index.ts'
import { anything, checkOptions, flag, whole, XenError } from '../../util/index.ts'

/** A host that may have faults. */
interface TestHostCalls {
  readonly faults: { migrationCut(facts: { readonly domid: number }): number | undefined }
}

/** How a domain is moved. */
export interface MigrateBetweenOptions {
  /** Bytes from the source to the target behind which the pipe is cut; default: what the source's faults say, or not at all. */
  readonly cutAt?: number | undefined
  /** Bytes from the target back behind which it is cut; the last of them is the target's word that it runs the domain. */
  readonly cutBackAt?: number | undefined
  /** Whether the domain runs on while most of it is sent. Default true. */
  readonly live?: boolean | undefined
  /** Further options of `domain.migrate`. */
  readonly migrate?: MigrateOptions | undefined
}

/** What became of it. */
export interface MigrationOutcome {
  /** `moved`: it runs at the target. `stayed`: it runs at the source. `undecided`: it is suspended at the source, which cannot know. */
  readonly where: 'moved' | 'stayed' | 'undecided'
  /** The handle at the target, where it runs there. */
  readonly domain: Domain | undefined
  /** What the source counted, where all went well for it. */
  readonly summary: MigrationSummary | undefined
  /** Bytes that were sent to the target, and back. */
  readonly sent: number
  readonly answered: number
  /** What each side failed with. */
  readonly sourceError: unknown
  readonly targetError: unknown
}

/** An output that counts what passes, and cuts the pipe behind so many bytes. */
class Scissors {
  passed = 0
  private readonly limit: number
  private readonly cut: () => void

  constructor(limit: number | undefined, cut: () => void) {
    this.limit = limit ?? Infinity
    this.cut = cut
  }

  /** The output with this in front. */
  around(target: ByteOutput): ByteOutput {
    const output = openOutput(target)
    return {
      keepsLast: output.keepsLast,
      write: async (chunk: Uint8Array) => {
        const room = this.limit - this.passed
        if (chunk.length <= room) {
          this.passed += chunk.length
          return output.write(chunk)
        }
        if (room > 0) await output.write(chunk.slice(0, room)).catch(() => undefined)
        this.passed += room
        this.cut()
        // Some of the chunk has been delivered: nobody promises that nothing has.
        throw new XenError(room > 0 ? 'IO' : 'CLOSED', `the pipe was cut behind ${this.passed} bytes`, { details: { passed: this.passed } })
      },
      close: () => output.close(),
      abort: (reason: unknown) => output.abort(reason),
    }
  }
}

const settle = async <T>(work: Promise<T>): Promise<{ readonly value?: T; readonly error?: unknown }> =>
  work.then((value) => ({ value }), (error: unknown) => ({ error }))

/**
 * Moves a domain from one host to another in this process. What fails is in the outcome; it rejects with INVALID_STATE where
 * both hosts run the domain, or none has it: then the migration has broken its promise.
 *
 * @example
 * const { where } = await migrateBetween(first, second, domain, { cutAt: 100_000 })
 * expect(where).toBe('stayed')
 */
export async function migrateBetween(source: Host, target: Host, domain: Domain, options: MigrateBetweenOptions = {}): Promise<MigrationOutcome> {
  const bytes = whole(0, Number.MAX_SAFE_INTEGER)
  checkOptions('migrateBetween', options, { cutAt: bytes, cutBackAt: bytes, live: flag, migrate: anything })
  if (source === target) throw new XenError('INVALID_ARGUMENT', 'migrateBetween takes two hosts')
  const { uuid } = domain
  const { ends: [near, far], cut } = transportPair()
  const cutAt = options.cutAt ?? (source as Partial<TestHostCalls>).faults?.migrationCut({ domid: domain.id })
  const [there, back] = [new Scissors(cutAt, cut), new Scissors(options.cutBackAt, cut)]
  const through = (end: MigrationTransport, scissors: Scissors): MigrationTransport => ({ readable: end.readable, writable: scissors.around(end.writable) })
  const { live = true } = options
  const [received, sent] = await Promise.all([
    settle(target.receiveMigration(through(far, back))),
    settle(domain.migrate(through(near, there), { live, ...options.migrate })),
  ])
  const here = source.domains().find((each) => each.uuid === uuid)
  const moved = target.domains().find((each) => each.uuid === uuid)
  const isSuspended = here?.info().shutdownReason !== undefined
  const facts = { summary: sent.value, sent: there.passed, answered: back.passed, sourceError: sent.error, targetError: received.error }
  if (here === undefined && moved === undefined) throw new XenError('INVALID_STATE', 'the domain is at neither host any more', { details: facts, cause: sent.error })
  if (moved !== undefined && here !== undefined && !isSuspended) throw new XenError('INVALID_STATE', 'the domain runs at both hosts', { details: facts })
  return { where: moved !== undefined ? 'moved' : isSuspended ? 'undecided' : 'stayed', domain: moved, ...facts }
}
