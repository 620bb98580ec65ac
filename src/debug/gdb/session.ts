/**
 * One debugger at domains of one host: GDB's remote serial protocol, from the first packet to the last. Whoever connects is a stranger: a packet that is none, an address
 * that is not mapped, a register that cannot be are answered with an error, and change nothing.
 * Reference: GDB manual, Remote Protocol, Packets, Reverse Execution.
 */
import { Inferior } from '../inferior/inferior.ts'
import { stepKey, type Ground, type GroundRun } from '../inferior/ground.ts'
import type { Stop } from '../inferior/stop.ts'
import type { Watchpoint } from '../inferior/watchpoint.ts'
import { monitor } from './monitor.ts'
import { bytesOf, hexOf, hexOfText, PACKET_SIZE, packet, PacketReader, type Incoming } from './packets.ts'
import { littleEndian, registersOf, targetDescription, valueOf, type DebugRegister } from './register-table.ts'
import { stopReply, ThreadNames, threadNamed, type ThreadName } from './stop-reply.ts'
import type { Host } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'

/** Errors by GDB's numbers, which are those of errno. */
const ERROR = { NOT_POSSIBLE: 'E01', FAULT: 'E0e', INVALID: 'E16' } as const
/** An answer to what this end does not know. */
const UNKNOWN = ''
const DONE = 'OK'

/** What a session needs. */
export interface SessionOptions {
  readonly host: Host
  readonly domids: readonly number[]
  readonly ground: Ground
  /** Sends bytes. */
  send(bytes: Uint8Array): void
  /** The debugger has taken leave of a domain. */
  left(domid: number): void
  /** The debugger has taken leave. */
  ended(): void
}

type Answer = string | Promise<string | undefined> | undefined

const address = (text: string): bigint | undefined => (/^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined)
const count = (text: string): number | undefined => (/^[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : undefined)

/** A vCPU. */
interface Place {
  readonly domid: number
  readonly vcpu: number
}

/** A debugger. */
export class GdbSession {
  private readonly options: SessionOptions
  private readonly ground: Ground
  private readonly reader = new PacketReader()
  private readonly names = new ThreadNames()
  private inferiors: Inferior[]
  private acknowledges = true
  private last: Uint8Array | undefined
  /** The vCPU that registers are asked of, and why the guests stand. */
  private chosen: Place
  private stop: Stop
  private isRunning = false
  private isOver = false
  /** Packets are answered one after the other. */
  private chain: Promise<void>

  constructor(options: SessionOptions) {
    this.options = options
    this.ground = options.ground
    this.inferiors = options.domids.map((domid) => new Inferior(domid, options.ground))
    for (const inferior of this.inferiors) this.ground.take(inferior)
    const [first] = this.inferiors
    this.chosen = { domid: first?.domid ?? 0, vcpu: first?.vcpus()[0] ?? 0 }
    this.stop = { type: 'step', ...this.chosen }
    this.chain = this.ground.ready.catch(() => this.fail())
  }

  /** Bytes have come. */
  take(bytes: Uint8Array): void {
    for (const one of this.reader.take(bytes)) if (!this.isOver) this.accept(one)
  }

  /** The connection is over: the guests go on without a debugger. */
  close(): void {
    if (this.isOver) return
    this.isOver = true
    for (const inferior of this.inferiors.splice(0)) this.leave(inferior)
    this.ground.release()
  }

  private leave(inferior: Inferior): void {
    inferior.clear()
    this.ground.leave(inferior)
    this.options.left(inferior.domid)
  }

  private fail(): void {
    this.close()
    this.options.ended()
  }

  private accept(one: Incoming): void {
    switch (one.type) {
      case 'interrupt': return this.isRunning ? this.ground.interrupt() : undefined
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
      case '?': return stopReply(this.stop, this.names)
      case 'g': return this.allRegisters()
      case 'G': return this.setAllRegisters(rest)
      case 'p': return this.register(rest)
      case 'P': return this.setRegister(rest)
      case 'm': return this.memory(rest)
      case 'M': return this.setMemory(rest, bytesOf)
      case 'X': return this.setMemory(rest, (data) => Uint8Array.from(data, (character) => character.charCodeAt(0)))
      case 'c':
      case 'C': return this.run(new Set())
      case 's':
      case 'S': return this.run(new Set([stepKey(this.chosen.domid, this.chosen.vcpu)]))
      case 'b': return this.back(text)
      case 'H': return this.choose(rest)
      case 'T': return this.placeNamed(rest) !== undefined ? DONE : ERROR.NOT_POSSIBLE
      case 'Z': return this.place(rest, 'set')
      case 'z': return this.place(rest, 'removed')
      case 'D': return this.detach(rest)
      case 'k': return this.kill(this.inferiors)
      case 'q':
      case 'Q': return this.query(text)
      case 'v': return this.extended(text)
      default: return UNKNOWN
    }
  }

  private get inferior(): Inferior | undefined {
    return this.inferiors.find(({ domid }) => domid === this.chosen.domid)
  }

  private registersOf(inferior: Inferior): readonly DebugRegister[] {
    return registersOf(inferior.facts)
  }

  private allRegisters(): string {
    const { inferior } = this
    const context = inferior?.context(this.chosen.vcpu)
    if (inferior === undefined || context === undefined) return ERROR.NOT_POSSIBLE
    return this.registersOf(inferior).map((one) => hexOf(littleEndian(one.read(context), one.bits))).join('')
  }

  private setAllRegisters(hex: string): Answer {
    const { inferior } = this
    const bytes = bytesOf(hex)
    let context = inferior?.context(this.chosen.vcpu)
    if (inferior === undefined || context === undefined || bytes === undefined) return ERROR.INVALID
    let at = 0
    for (const one of this.registersOf(inferior)) {
      if (at + one.bits / 8 > bytes.length) return ERROR.INVALID
      context = one.write(context, valueOf(bytes.subarray(at, at + one.bits / 8)))
      at += one.bits / 8
    }
    return inferior.setContext(this.chosen.vcpu, context).then((isSet) => (isSet ? DONE : ERROR.INVALID))
  }

  private register(number: string): string {
    const { inferior } = this
    const one = inferior && this.registersOf(inferior)[count(number) ?? -1]
    const context = inferior?.context(this.chosen.vcpu)
    return one === undefined || context === undefined ? ERROR.INVALID : hexOf(littleEndian(one.read(context), one.bits))
  }

  private setRegister(text: string): Answer {
    const { inferior } = this
    const [, number, hex] = /^([0-9a-f]+)=([0-9a-f]+)$/i.exec(text) ?? []
    const one = inferior && this.registersOf(inferior)[count(number ?? '') ?? -1]
    const bytes = bytesOf(hex ?? '')
    const context = inferior?.context(this.chosen.vcpu)
    if (inferior === undefined || one === undefined || bytes?.length !== one.bits / 8 || context === undefined) return ERROR.INVALID
    return inferior.setContext(this.chosen.vcpu, one.write(context, valueOf(bytes))).then((isSet) => (isSet ? DONE : ERROR.INVALID))
  }

  private memory(text: string): string {
    const [start, size] = text.split(',')
    const [at, length] = [address(start ?? ''), count(size ?? '')]
    if (at === undefined || length === undefined) return ERROR.INVALID
    const bytes = this.inferior?.read(at, Math.min(length, PACKET_SIZE / 2 - 4)) ?? new Uint8Array(0)
    return bytes.length === 0 && length > 0 ? ERROR.FAULT : hexOf(bytes)
  }

  private setMemory(text: string, decode: (data: string) => Uint8Array | undefined): Answer {
    const [, start, size, data] = /^([0-9a-f]+),([0-9a-f]+):([^]*)$/i.exec(text) ?? []
    const [at, bytes] = [address(start ?? ''), decode(data ?? '')]
    if (at === undefined || bytes === undefined || bytes.length !== count(size ?? '')) return ERROR.INVALID
    if (bytes.length === 0) return DONE
    return this.inferior?.write(at, bytes).then((isWritten) => (isWritten ? DONE : ERROR.FAULT)) ?? ERROR.FAULT
  }

  /** vCPUs that a thread's name means. */
  private placesOf({ domid, vcpu }: ThreadName): Place[] {
    const inferiors = domid === 'all' || (domid === 'any' && vcpu === 'all') ? this.inferiors : this.inferiors.filter((one) => one.domid === (domid === 'any' ? this.chosen.domid : domid))
    return inferiors.flatMap((one) => {
      const vcpus = one.vcpus()
      if (vcpu === 'all') return vcpus.map((each) => ({ domid: one.domid, vcpu: each }))
      const meant = vcpu === 'any' ? (one.domid === this.chosen.domid ? this.chosen.vcpu : vcpus[0]) : vcpu
      return meant !== undefined && vcpus.includes(meant) ? [{ domid: one.domid, vcpu: meant }] : []
    })
  }

  private placeNamed(name: string): Place | undefined {
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
    const { inferior } = this
    const [, kind, start, size] = /^([0-4]),([0-9a-f]+),([0-9a-f]+)/i.exec(text) ?? []
    const [at, length] = [address(start ?? ''), count(size ?? '')]
    if (kind === undefined || at === undefined || length === undefined) return UNKNOWN
    if (inferior === undefined) return ERROR.NOT_POSSIBLE
    if (kind === '0' || kind === '1') {
      if (what === 'set') inferior.addBreakpoint(at)
      else inferior.removeBreakpoint(at)
      return DONE
    }
    if (length < 1 || length > 4096) return ERROR.INVALID
    const watch: Watchpoint = { kind: kind === '2' ? 'write' : kind === '3' ? 'read' : 'access', address: at, length }
    if (what === 'set') inferior.addWatchpoint(watch)
    else inferior.removeWatchpoint(watch)
    return DONE
  }

  private what(steps: ReadonlySet<string>, running: Iterable<number>): GroundRun {
    return { inferiors: this.inferiors, running: new Set(running), steps }
  }

  private async run(steps: ReadonlySet<string>, running: Iterable<number> = this.inferiors.map(({ domid }) => domid)): Promise<string> {
    return this.until(this.ground.run(this.what(steps, running)))
  }

  /** `bc` and `bs`. */
  private back(text: string): Answer {
    if (!this.ground.goesBack || !/^b[cs]$/.test(text)) return UNKNOWN
    return this.until(this.ground.back(this.what(new Set(), this.inferiors.map(({ domid }) => domid)), text === 'bs' ? this.chosen : undefined))
  }

  private async until(running: Promise<Stop>): Promise<string> {
    this.isRunning = true
    try {
      this.stop = await running
    } catch (error) {
      if (!XenError.is(error)) throw error
      return ERROR.NOT_POSSIBLE
    } finally {
      this.isRunning = false
    }
    if (this.stop.type !== 'ended') this.chosen = { domid: this.stop.domid, vcpu: this.stop.vcpu }
    return stopReply(this.stop, this.names)
  }

  /** The last answer, and the end: the guests go on; or of one domain alone. */
  private detach(text: string): Answer {
    const meant = /^;([0-9a-f]+)$/i.exec(text)?.[1]
    const inferior = meant === undefined ? undefined : this.inferiors.find(({ domid }) => domid === count(meant))
    if (meant !== undefined && inferior === undefined) return ERROR.NOT_POSSIBLE
    if (inferior === undefined || this.inferiors.length === 1) {
      this.send(DONE)
      this.fail()
      return undefined
    }
    this.remove(inferior)
    return DONE
  }

  private remove(inferior: Inferior): void {
    this.leave(inferior)
    this.inferiors = this.inferiors.filter((one) => one !== inferior)
    const [first] = this.inferiors
    if (this.chosen.domid === inferior.domid && first !== undefined) this.chosen = { domid: first.domid, vcpu: first.vcpus()[0] ?? 0 }
  }

  /** The end of domains, which `k` wants no answer to. */
  private kill(inferiors: readonly Inferior[]): undefined {
    const { host } = this.options
    for (const { domid } of inferiors) {
      const domain = host.domains().find(({ id }) => id === domid)
      void domain?.destroy().catch(() => undefined)
    }
    if (inferiors.length >= this.inferiors.length) this.fail()
    else for (const inferior of inferiors) this.remove(inferior)
  }

  /** `vCont`: the first action that fits a thread is its own. Of a domain that runs all vCPUs run: a guest runs as a whole. */
  private continueWith(text: string): Answer {
    const steps = new Set<string>()
    const running = new Set<number>()
    const decided = new Set<string>()
    for (const one of text.split(';').slice(1)) {
      const [action = '', name = '-1'] = one.split(':')
      const thread = threadNamed(name)
      if (thread === undefined || !/^[cCsSrt]/.test(action)) return ERROR.INVALID
      for (const { domid, vcpu } of this.placesOf(thread).filter((each) => !decided.has(stepKey(each.domid, each.vcpu)))) {
        decided.add(stepKey(domid, vcpu))
        running.add(domid)
        if (/^[sSr]/.test(action)) steps.add(stepKey(domid, vcpu))
      }
    }
    return decided.size === 0 ? ERROR.INVALID : this.run(steps, running)
  }

  private extended(text: string): Answer {
    if (text === 'vCont?') return 'vCont;c;C;s;S;r;t'
    if (text.startsWith('vCont;')) return this.continueWith(text)
    const meant = /^vKill;([0-9a-f]+)$/i.exec(text)?.[1]
    if (meant === undefined) return UNKNOWN
    const inferior = this.inferiors.find(({ domid }) => domid === count(meant)) ?? (this.names.isMultiprocess ? undefined : this.inferiors[0])
    if (inferior === undefined) return ERROR.NOT_POSSIBLE
    this.send(DONE)
    return this.kill([inferior])
  }

  private query(text: string): Answer {
    const [name = ''] = text.split(/[:;,]/)
    switch (name) {
      case 'qSupported': return this.supported(text)
      case 'QStartNoAckMode':
        this.acknowledges = false
        return DONE
      case 'qC': return `QC${this.names.of(this.chosen.domid, this.chosen.vcpu)}`
      case 'qAttached': return '1'
      case 'qfThreadInfo': return `m${this.threads().map(({ domid, vcpu }) => this.names.of(domid, vcpu)).join(',')}`
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
    const back = this.ground.goesBack ? ';ReverseStep+;ReverseContinue+' : ''
    const processes = this.names.isMultiprocess ? ';multiprocess+' : ''
    return `PacketSize=${PACKET_SIZE.toString(16)};QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+;qXfer:features:read+;qXfer:threads:read+${back}${processes}`
  }

  /** All threads that the debugger can know of: of one domain where it knows of no processes. */
  private threads(): Place[] {
    const inferiors = this.names.isMultiprocess ? this.inferiors : this.inferiors.slice(0, 1)
    return inferiors.flatMap((one) => one.vcpus().map((vcpu) => ({ domid: one.domid, vcpu })))
  }

  private nameOf({ domid, vcpu }: Place): string {
    const name = this.inferiors.find((one) => one.domid === domid)?.domain?.name
    return this.inferiors.length > 1 && name !== undefined ? `${name} vCPU ${vcpu}` : `vCPU ${vcpu}`
  }

  private threadText(name: string): string {
    const place = this.placeNamed(name)
    return place === undefined ? ERROR.NOT_POSSIBLE : hexOfText(this.nameOf(place))
  }

  /** A piece of a document. */
  private transfer(text: string): string {
    const [, object, start, size] = /^qXfer:(features:read:target\.xml|threads:read:):([0-9a-f]+),([0-9a-f]+)$/i.exec(text) ?? []
    const [at, length] = [count(start ?? ''), count(size ?? '')]
    if (object === undefined || at === undefined || length === undefined) return text.includes(':read:') ? 'E00' : UNKNOWN
    const { inferior } = this
    if (inferior === undefined) return ERROR.NOT_POSSIBLE
    const threads = (): string => this.threads().map((one) => `<thread id="${this.names.of(one.domid, one.vcpu)}" core="${one.vcpu}" name="${this.nameOf(one)}"/>`).join('')
    const document = object.startsWith('features') ? targetDescription(inferior.facts) : `<?xml version="1.0"?><threads>${threads()}</threads>`
    const piece = document.slice(at, at + Math.min(length, PACKET_SIZE - 16))
    return `${at + piece.length < document.length ? 'm' : 'l'}${piece}`
  }

  private async command(hex: string): Promise<string> {
    const bytes = bytesOf(hex)
    if (bytes === undefined) return ERROR.INVALID
    const { ground } = this
    const text = await monitor({ ground, inferior: this.inferior, inferiors: this.inferiors, vcpu: this.chosen.vcpu }, new TextDecoder().decode(bytes))
    return hexOfText(text.slice(0, PACKET_SIZE / 4))
  }
}
