/** What a fuzzer is told, and what it tells. Data and signatures only. */
import type { Domain, Host, Moment } from '../../toolstack/index.ts'
import type { VirtualMemory } from '../memory/virtual-memory.ts'

/** A host at the moment, and the domain that is tested. */
export interface FuzzSubject {
  readonly host: Host
  readonly domain: Domain
  /** The domain's memory by virtual address. */
  readonly memory: VirtualMemory
  /** Where a symbol of the kernel lies: of those that were given for it, or that Linux carries. Throws NOT_SUPPORTED where nobody knows it. */
  address(symbol: string): number
}

/** How inputs reach the guest. */
export interface FuzzInput {
  /** Gives the guest an input, at the moment, before anything runs; what it promises may come true while the guest runs. */
  readonly inject: (bytes: Uint8Array, subject: FuzzSubject) => void | Promise<void>
  /** Inputs to begin with. Default: an empty one. */
  readonly seeds?: readonly Uint8Array[] | undefined
  /** Bytes of an input at most. Default 4096. */
  readonly most?: number | undefined
  /** Words that the target knows: magic numbers, names of nodes. */
  readonly dictionary?: readonly Uint8Array[] | undefined
}

/** Bytes of memory that somebody else can write at any time. */
export interface SharedRange {
  readonly address: number | bigint
  readonly length: number
}

/** How something is tested. */
export interface FuzzOptions {
  /** Where each execution begins. */
  readonly moment: Moment<Host>
  /** The domain that is tested, by name or number. */
  readonly target: string | number
  readonly input: FuzzInput
  /** Ends behind so many seconds of the machine's time, or so many executions. One of the two is needed. */
  readonly seconds?: number | undefined
  readonly executions?: number | undefined
  /** Chance of inputs. The same seed tries the same inputs. Default 1. */
  readonly seed?: number | undefined
  /** Instructions of the host that an execution takes at most. Default 300,000. */
  readonly instructions?: number | undefined
  /** Instructions behind which it is looked whether an execution is over. Default 20,000. */
  readonly every?: number | undefined
  /** Whether an execution is over. Default: when all vCPUs of the domain wait. */
  readonly until?: ((subject: FuzzSubject) => boolean) | undefined
  /** What must hold behind each execution: says what does not. */
  readonly invariant?: ((subject: FuzzSubject) => string | undefined) | undefined
  /** Memory of the guest that others share: of inputs that reach something new it is told where the guest reads the same bytes twice. */
  readonly shared?: ((subject: FuzzSubject) => readonly SharedRange[]) | undefined
  /** Ends at so many different findings. Default: never. */
  readonly stopAt?: number | undefined
  /** Executions that shrinking one finding may take. Default 400. */
  readonly shrinking?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** What went wrong: the domain crashed, its kernel complained on the console, an invariant did not hold, shared bytes were read twice. */
export type FindingKind = 'crash' | 'console' | 'invariant' | 'double-fetch'

/** Something that went wrong, by what it is called. */
export interface Finding {
  readonly kind: FindingKind
  /** The same for the same mistake: addresses are left out. */
  readonly signature: string
  /** What there is to read about it. */
  readonly text: string
}

/** A finding with the input that shows it. */
export interface FuzzFinding extends Finding {
  /** The smallest input that was found to show it. */
  readonly input: Uint8Array
  /** The input that showed it first. */
  readonly found: Uint8Array
  /** Number of the execution, from 1. */
  readonly execution: number
}

/** What came of it. */
export interface FuzzReport {
  readonly seed: number
  readonly executions: number
  /** Milliseconds of the machine's time. */
  readonly elapsed: number
  /** Edges of the host's code that were taken. */
  readonly edges: number
  /** Inputs of which each has reached something that those before it had not. */
  readonly corpus: readonly Uint8Array[]
  readonly findings: readonly FuzzFinding[]
}

/** Executes inputs, for fuzzers that choose them elsewhere. */
export interface FuzzExecutor {
  /** What an input does, from the moment on. One at a time: BUSY. Rejects with CLOSED once it has ended, and as `fuzz` does. */
  execute(input: Uint8Array): Promise<Outcome>
  /** Shuts its host down; once more does nothing. */
  end(): Promise<void>
}

/** What one input does. */
export interface Outcome {
  readonly findings: readonly Finding[]
  /** The map of edges, as classes. */
  readonly classes: Uint8Array
}

