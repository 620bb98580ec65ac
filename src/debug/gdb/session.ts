/**
 * One debugger at what is to be debugged, domains or processes of one: GDB's remote serial protocol, from the first packet to the last. Whoever connects is a stranger: a packet that is none, an address
 * that is not mapped, a register that cannot be are answered with an error, and change nothing.
 * Reference: GDB manual, Remote Protocol, Packets, Reverse Execution.
 */
import type { Stop, ThreadPlace } from '../inferior/stop.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'
import type { Watchpoint } from '../inferior/watchpoint.ts'
import { monitor } from './monitor.ts'
import { bytesOf, hexOf, hexOfText, PACKET_SIZE, packet, PacketReader, type Incoming } from './packets.ts'
import { littleEndian, memoryMap, packetRegistersOf, registersOf, targetDescription, valueOf } from './register-table.ts'
import { stopReply, ThreadNames, threadNamed, type ThreadName } from './stop-reply.ts'
import type { GdbProcess, GdbTarget } from './target.ts'
import { XenError } from '../../util/index.ts'

/** Errors by GDB's numbers, which are those of errno. */
const ERROR = { NOT_POSSIBLE: 'E01', FAULT: 'E0e', INVALID: 'E16' } as const
/** An answer to what this end does not know. */
const UNKNOWN = ''
const DONE = 'OK'

/** What a session needs. */
export interface SessionOptions {
  readonly target: GdbTarget
  /** Sends bytes. */
  send(bytes: Uint8Array): void
  /** The debugger has taken leave of a process. */
  left(process: number): void
  /** The debugger has taken leave. */
  ended(): void
}

type Answer = string | Promise<string | undefined> | undefined

const address = (text: string): bigint | undefined => (/^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined)
const count = (text: string): number | undefined => (/^[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : undefined)

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escaped = (name: string): string => name.replace(/[&<>"]/g, (one) => ESCAPES[one]!)
const keyOf = ({ process, thread }: ThreadPlace): string => `${process}.${thread}`

/** A debugger. */
export class GdbSession {
  private readonly options: SessionOptions
  private readonly target: GdbTarget
  private readonly reader = new PacketReader()
  private readonly names = new ThreadNames()
  private acknowledges = true
  private last: Uint8Array | undefined
  /** The thread that registers are asked of, and how it is told that all stands. */
  private chosen: ThreadPlace = { process: 0, thread: 0 }
  private standing: Stop | undefined
  private isRunning = false
  private isOver = false
  /** Packets are answered one after the other. */
  private chain: Promise<void>

  constructor(options: SessionOptions) {
    this.options = options
    this.target = options.target
    this.chosen = this.firstPlace()
    this.chain = this.target.ground.ready.then(() => {
      this.target.moved()
      this.chosen = this.firstPlace()
    }).catch(() => this.fail())
  }

  /** The first thread of the first process, whoever runs: gdb takes the process that it hears of first for the one whose program it was given. */
  private firstPlace(): ThreadPlace {
    const [first] = this.processes
    return { process: first?.number ?? 0, thread: first?.threads()[0] ?? 0 }
  }

  /** Bytes have come. */
  take(bytes: Uint8Array): void {
    for (const one of this.reader.take(bytes)) if (!this.isOver) this.accept(one)
  }

  /** The connection is over: the guests go on without a debugger. */
  close(): void {
    if (this.isOver) return
    this.isOver = true
    for (const process of this.processes) this.leave(process)
    this.target.release()
  }

  private leave(process: GdbProcess): void {
    this.target.leave(process)
    this.options.left(process.number)
  }

  private fail(): void {
    this.close()
    this.options.ended()
  }

  private accept(one: Incoming): void {
    switch (one.type) {
      case 'interrupt': return this.isRunning ? this.target.ground.interrupt() : undefined
      // Where nothing is acknowledged nothing is lost: gdb only waits for what takes long, and would take what comes twice for the next answer.
      case 'again': return this.last === undefined || !this.acknowledges ? undefined : this.options.send(this.last)
      case 'damaged': return this.acknowledges ? this.options.send(Uint8Array.of(0x2d)) : undefined
      case 'acknowledged': return undefined
      case 'packet':
        if (this.acknowledges) this.options.send(Uint8Array.of(0x2b))
        // While it runs, nothing but Ctrl-C is heard.
        if (!this.isRunning) this.chain = this.chain.then(() => this.reply(one.text)).catch(() => this.fail())
    }
  }

  private async reply(text: string): Promise<void> {
    if (this.isOver || this.isRunning) return
    const answer = this.answer(text)
    // A run ends when it ends: other packets are not kept waiting for it, they are not heard.
    if (this.isRunning) void Promise.resolve(answer).then((later) => this.send(later), () => this.fail())
    else this.send(await answer)
  }

  private send(answer: string | undefined): void {
    if (typeof answer !== 'string' || this.isOver) return
    this.last = packet(answer)
    this.options.send(this.last)
  }

  private answer(text: string): Answer {
    const rest = text.slice(1)
    switch (text[0]) {
      case '?': return this.told(this.standing ?? { type: 'step', domid: 0, vcpu: 0 }, this.chosen)
      case 'g': return this.allRegisters()
      case 'G': return this.setAllRegisters(rest)
      case 'p': return this.register(rest)
      case 'P': return this.setRegister(rest)
      case 'm': return this.memory(rest)
      case 'M': return this.setMemory(rest, bytesOf)
      case 'X': return this.setMemory(rest, (data) => Uint8Array.from(data, (character) => character.charCodeAt(0)))
      case 'c':
      case 'C': return this.run([])
      case 's':
      case 'S': return this.run([this.chosen])
      case 'b': return this.back(text)
      case 'H': return this.choose(rest)
      case 'T': return this.placeNamed(rest) !== undefined ? DONE : ERROR.NOT_POSSIBLE
      case 'Z': return this.place(rest, 'set')
      case 'z': return this.place(rest, 'removed')
      case 'D': return this.detach(rest)
      case 'k': return this.killAll()
      case 'q':
      case 'Q': return this.query(text)
      case 'v': return this.extended(text)
      default: return UNKNOWN
    }
  }

  private get processes(): readonly GdbProcess[] {
    return this.target.processes()
  }

  private get process(): GdbProcess | undefined {
    return this.processes.find(({ number }) => number === this.chosen.process)
  }

  private allRegisters(): string {
    const { process } = this
    const context = process?.context(this.chosen.thread)
    if (process === undefined || context === undefined) return ERROR.NOT_POSSIBLE
    return packetRegistersOf(process.facts).map((one) => hexOf(littleEndian(one.read(context), one.bits))).join('')
  }

  private setAllRegisters(hex: string): Answer {
    const { process } = this
    const bytes = bytesOf(hex)
    let context: ThreadContext | undefined = process?.context(this.chosen.thread)
    if (process === undefined || context === undefined || bytes === undefined) return ERROR.INVALID
    let at = 0
    for (const one of packetRegistersOf(process.facts)) {
      if (context === undefined || at + one.bits / 8 > bytes.length) return ERROR.INVALID
      context = one.write(context, valueOf(bytes.subarray(at, at + one.bits / 8)))
      at += one.bits / 8
    }
    if (context === undefined) return ERROR.INVALID
    return process.setContext(this.chosen.thread, context).then((isSet) => (isSet ? DONE : ERROR.INVALID))
  }

  private register(number: string): string {
    const { process } = this
    const one = process && registersOf(process.facts)[count(number) ?? -1]
    const context = process?.context(this.chosen.thread)
    return one === undefined || context === undefined ? ERROR.INVALID : hexOf(littleEndian(one.read(context), one.bits))
  }

  private setRegister(text: string): Answer {
    const { process } = this
    const [, number, hex] = /^([0-9a-f]+)=([0-9a-f]+)$/i.exec(text) ?? []
    const one = process && registersOf(process.facts)[count(number ?? '') ?? -1]
    const bytes = bytesOf(hex ?? '')
    const context = process?.context(this.chosen.thread)
    if (process === undefined || one === undefined || bytes?.length !== one.bits / 8 || context === undefined) return ERROR.INVALID
    const changed = one.write(context, valueOf(bytes))
    return changed === undefined ? ERROR.INVALID : process.setContext(this.chosen.thread, changed).then((isSet) => (isSet ? DONE : ERROR.INVALID))
  }

  private memory(text: string): string {
    const [start, size] = text.split(',')
    const [at, length] = [address(start ?? ''), count(size ?? '')]
    if (at === undefined || length === undefined) return ERROR.INVALID
    const bytes = this.process?.read(at, Math.min(length, PACKET_SIZE / 2 - 4)) ?? new Uint8Array(0)
    return bytes.length === 0 && length > 0 ? ERROR.FAULT : hexOf(bytes)
  }

  private setMemory(text: string, decode: (data: string) => Uint8Array | undefined): Answer {
    const [, start, size, data] = /^([0-9a-f]+),([0-9a-f]+):([^]*)$/i.exec(text) ?? []
    const [at, bytes] = [address(start ?? ''), decode(data ?? '')]
    if (at === undefined || bytes === undefined || bytes.length !== count(size ?? '')) return ERROR.INVALID
    if (bytes.length === 0) return DONE
    return this.process?.write(at, bytes).then((isWritten) => (isWritten ? DONE : ERROR.FAULT)) ?? ERROR.FAULT
  }

  /** Threads that a name means. */
  private placesOf({ process, thread }: ThreadName): ThreadPlace[] {
    const all = this.processes
    const meant = process === 'all' || (process === 'any' && thread === 'all') ? all : all.filter(({ number }) => number === (process === 'any' ? this.chosen.process : process))
    return meant.flatMap((one) => {
      const threads = one.threads()
      if (thread === 'all') return threads.map((each) => ({ process: one.number, thread: each }))
      const number = thread === 'any' ? (one.number === this.chosen.process ? this.chosen.thread : threads[0]) : thread
      return number !== undefined && threads.includes(number) ? [{ process: one.number, thread: number }] : []
    })
  }

  private placeNamed(name: string): ThreadPlace | undefined {
    const thread = threadNamed(name)
    return thread && this.placesOf(thread)[0]
  }

  /** `Hg` chooses whose registers are asked for; `Hc` is of old debuggers. */
  private choose(text: string): string {
    const place = this.placeNamed(text.slice(1))
    if (place === undefined) return ERROR.NOT_POSSIBLE
    if (text[0] === 'g') this.chosen = place
    return DONE
  }

  /** Breakpoints and watchpoints: kept beside the guest, whatever kind is asked for. */
  private place(text: string, what: 'set' | 'removed'): string {
    const { process } = this
    const [, kind, start, size] = /^([0-4]),([0-9a-f]+),([0-9a-f]+)/i.exec(text) ?? []
    const [at, length] = [address(start ?? ''), count(size ?? '')]
    if (kind === undefined || at === undefined || length === undefined) return UNKNOWN
    if (process === undefined) return ERROR.NOT_POSSIBLE
    if (kind === '0' || kind === '1') {
      if (what === 'set') process.addBreakpoint(at)
      else process.removeBreakpoint(at)
      return DONE
    }
    if (length < 1 || length > 4096) return ERROR.INVALID
    const watch: Watchpoint = { kind: kind === '2' ? 'write' : kind === '3' ? 'read' : 'access', address: at, length }
    if (what === 'set') process.addWatchpoint(watch)
    else process.removeWatchpoint(watch)
    return DONE
  }

  private async run(steps: readonly ThreadPlace[], running: Iterable<number> = this.processes.map(({ number }) => number)): Promise<string> {
    return this.until(this.target.run({ running: new Set(running), steps }))
  }

  /** `bc` and `bs`. */
  private back(text: string): Answer {
    if (!this.target.ground.goesBack || !/^b[cs]$/.test(text)) return UNKNOWN
    return this.until(this.target.back(text === 'bs' ? this.chosen : undefined))
  }

  private async until(running: Promise<Stop>): Promise<string> {
    this.isRunning = true
    try {
      const stop = await running
      this.standing = stop
      const place = this.target.placeOf(stop)
      if (place !== undefined) this.chosen = place
      return this.told(stop, place)
    } catch (error) {
      if (!XenError.is(error)) throw error
      return ERROR.NOT_POSSIBLE
    } finally {
      this.isRunning = false
    }
  }

  /** A stop at a thread; where there is none, all is over. */
  private told(stop: Stop, place: ThreadPlace | undefined): string {
    return stopReply(place === undefined && stop.type !== 'ended' ? { type: 'ended', domid: this.chosen.process, reason: 'gone' } : stop, place ?? this.chosen, this.names)
  }

  /** The last answer, and the end: the guests go on; or of one domain alone. */
  private detach(text: string): Answer {
    const all = this.processes
    const meant = /^;([0-9a-f]+)$/i.exec(text)?.[1]
    const process = meant === undefined ? undefined : all.find(({ number }) => number === count(meant))
    if (meant !== undefined && process === undefined) return ERROR.NOT_POSSIBLE
    if (process === undefined || all.length === 1) {
      this.send(DONE)
      this.fail()
      return undefined
    }
    this.remove(process)
    return DONE
  }

  private remove(process: GdbProcess): void {
    this.leave(process)
    if (this.chosen.process === process.number) this.chosen = this.firstPlace()
  }

  /** The end of all, which `k` wants no answer to; what cannot be ended is left. */
  private killAll(): undefined {
    for (const process of this.processes) this.target.kill(process)
    this.fail()
  }

  private kill(number: string): string | undefined {
    const all = this.processes
    const process = all.find((one) => one.number === count(number)) ?? (this.names.isMultiprocess ? undefined : all[0])
    if (process === undefined || !this.target.kill(process)) return ERROR.NOT_POSSIBLE
    this.send(DONE)
    if (all.length === 1) this.fail()
    else this.remove(process)
    return undefined
  }

  /** `vCont`: the first action that fits a thread is its own. Of a process that runs all threads run: a guest runs as a whole. */
  private continueWith(text: string): Answer {
    const steps: ThreadPlace[] = []
    const running = new Set<number>()
    const decided = new Set<string>()
    for (const one of text.split(';').slice(1)) {
      const [action = '', name = '-1'] = one.split(':')
      const thread = threadNamed(name)
      if (thread === undefined || !/^[cCsSrt]/.test(action)) return ERROR.INVALID
      for (const place of this.placesOf(thread).filter((each) => !decided.has(keyOf(each)))) {
        decided.add(keyOf(place))
        running.add(place.process)
        if (/^[sSr]/.test(action)) steps.push(place)
      }
    }
    return decided.size === 0 ? ERROR.INVALID : this.run(steps, running)
  }

  private extended(text: string): Answer {
    if (text === 'vCont?') return 'vCont;c;C;s;S;r;t'
    if (text.startsWith('vCont;')) return this.continueWith(text)
    const meant = /^vKill;([0-9a-f]+)$/i.exec(text)?.[1]
    return meant === undefined ? UNKNOWN : this.kill(meant)
  }

  private query(text: string): Answer {
    const [name = ''] = text.split(/[:;,]/)
    switch (name) {
      case 'qSupported': return this.supported(text)
      case 'QStartNoAckMode':
        this.acknowledges = false
        return DONE
      case 'qC': return `QC${this.names.of(this.chosen)}`
      case 'qAttached': return '1'
      case 'qfThreadInfo': return `m${this.threads().map((place) => this.names.of(place)).join(',')}`
      case 'qsThreadInfo': return 'l'
      case 'qThreadExtraInfo': return this.threadText(text.slice('qThreadExtraInfo,'.length))
      case 'qSymbol': return DONE
      case 'qXfer': return this.transfer(text)
      case 'qRcmd': return this.command(text.slice('qRcmd,'.length))
      default: return UNKNOWN
    }
  }

  private supported(text: string): string {
    this.names.isMultiprocess = /[:;]multiprocess\+/.test(text)
    const back = this.target.ground.goesBack ? ';ReverseStep+;ReverseContinue+' : ''
    const processes = this.names.isMultiprocess ? ';multiprocess+' : ''
    return `PacketSize=${PACKET_SIZE.toString(16)};QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;qXfer:features:read+;qXfer:threads:read+;qXfer:memory-map:read+${this.auxiliary() === undefined ? '' : ';qXfer:auxv:read+'}${back}${processes}`
  }

  private auxiliary(): Uint8Array | undefined {
    return this.process?.auxiliary()
  }

  /** All threads that the debugger can know of: of one process where it knows of none. */
  private threads(): ThreadPlace[] {
    const processes = this.names.isMultiprocess ? this.processes : this.processes.slice(0, 1)
    return processes.flatMap((one) => one.threads().map((thread) => ({ process: one.number, thread })))
  }

  private threadText(name: string): string {
    const place = this.placeNamed(name)
    const process = place && this.processes.find(({ number }) => number === place.process)
    return process === undefined ? ERROR.NOT_POSSIBLE : hexOfText(process.nameOf(place!.thread))
  }

  /** Threads with their names, which are a guest's. */
  private threadList(): string {
    const rows = this.threads().map((place) => {
      const process = this.processes.find(({ number }) => number === place.process)
      const vcpu = process?.vcpuOf(place.thread)
      return `<thread id="${this.names.of(place)}"${vcpu === undefined ? '' : ` core="${vcpu}"`} name="${escaped(process?.nameOf(place.thread) ?? '')}"/>`
    })
    return `<?xml version="1.0"?><threads>${rows.join('')}</threads>`
  }

  /** A piece of a document. */
  private transfer(text: string): string {
    const [, object, start, size] = /^qXfer:(features:read:target\.xml|threads:read:|memory-map:read:|auxv:read:):([0-9a-f]+),([0-9a-f]+)$/i.exec(text) ?? []
    const [at, length] = [count(start ?? ''), count(size ?? '')]
    if (object === undefined || at === undefined || length === undefined) return text.includes(':read:') ? 'E00' : UNKNOWN
    const { process } = this
    if (process === undefined) return ERROR.NOT_POSSIBLE
    const auxiliary = object.startsWith('auxv') ? this.auxiliary() : undefined
    if (object.startsWith('auxv') && auxiliary === undefined) return ERROR.NOT_POSSIBLE
    const document = auxiliary !== undefined ? String.fromCharCode(...auxiliary)
      : object.startsWith('features') ? targetDescription(process.facts) : object.startsWith('memory') ? memoryMap(process.facts) : this.threadList()
    const piece = document.slice(at, at + Math.min(length, PACKET_SIZE - 16))
    return `${at + piece.length < document.length ? 'm' : 'l'}${piece}`
  }

  private async command(hex: string): Promise<string> {
    const bytes = bytesOf(hex)
    if (bytes === undefined) return ERROR.INVALID
    const { target, chosen } = this
    const text = await monitor({ ground: target.ground, domain: target.domainOf(chosen.process), moved: () => target.moved(), vcpu: this.process?.vcpuOf(chosen.thread) ?? 0 }, new TextDecoder().decode(bytes))
    return hexOfText(text.slice(0, PACKET_SIZE / 4))
  }
}
