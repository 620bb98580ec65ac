/** DNS for guests: names that the network knows by itself, and others by asking its outside. */
import type { NetworkSettings } from './network-settings.ts'
import type { NameAnswer, OutsideInput } from './outside.ts'
import type { OutsideDoor } from './outside-door.ts'
import { addressOf, DNS_CODE, DNS_TYPE, encodeAnswer, isAnswerable, parseQuestion, type DnsQuestion } from './dns-message.ts'
import type { UdpPacket } from './packet.ts'

/** The port of DNS. */
export const DNS_PORT = 53
/** Questions that wait for the outside; of more the oldest is not answered. */
const MOST_QUESTIONS = 64

/** What the names need of their network. */
export interface NameServices {
  readonly settings: NetworkSettings
  readonly door: OutsideDoor
  /** Answers a guest's message. */
  answer(packet: UdpPacket, bytes: Uint8Array): void
}

const CODES: Readonly<Record<NameAnswer['code'], number>> = { okay: DNS_CODE.okay, 'no-name': DNS_CODE.noName, refused: DNS_CODE.refused, failure: DNS_CODE.failure }

/** The names of one network. */
export class GuestNames {
  private readonly services: NameServices
  private readonly waiting = new Map<number, { readonly packet: UdpPacket; readonly question: DnsQuestion }>()

  constructor(services: NameServices) {
    this.services = services
  }

  /** Takes a guest's message. */
  receive(packet: UdpPacket): void {
    const question = parseQuestion(packet.data)
    if (question === undefined) return
    const known = isAnswerable(question) ? this.known(question) : this.refusal(question)
    if (known !== undefined) return this.services.answer(packet, known)
    this.ask(packet, question)
  }

  /** Other types have no records, so that whoever asks goes on with addresses; other kinds of messages are nothing to this server. */
  private refusal(question: DnsQuestion): Uint8Array {
    return encodeAnswer(question, (question.head[2]! & 0x78) === 0 ? DNS_CODE.okay : DNS_CODE.unknown)
  }

  /** What the network knows by itself. */
  private known(question: DnsQuestion): Uint8Array | undefined {
    const { names } = this.services.settings
    if (question.type === DNS_TYPE.A) {
      const address = names.get(question.name)
      return address === undefined ? undefined : encodeAnswer(question, DNS_CODE.okay, [address])
    }
    const address = addressOf(question.name)
    if (address === undefined) return encodeAnswer(question, DNS_CODE.noName)
    const found = [...names].filter(([, each]) => each === address).map(([name]) => name)
    if (found.length > 0) return encodeAnswer(question, DNS_CODE.okay, found)
    return this.services.settings.isInside(address) ? encodeAnswer(question, DNS_CODE.noName) : undefined
  }

  private ask(packet: UdpPacket, question: DnsQuestion): void {
    const { door } = this.services
    for (const [oldest] of this.waiting) {
      if (this.waiting.size < MOST_QUESTIONS) break
      this.waiting.delete(oldest)
      door.forget(oldest)
    }
    const asked = question.type === DNS_TYPE.A ? { type: 'A', name: question.name } as const : { type: 'PTR', name: addressOf(question.name)! } as const
    // What is answered at once comes in a later step.
    const number = door.resolve(asked)
    this.waiting.set(number, { packet, question })
  }

  /** Takes the outside's answer. The machine of the outside is at the gateway's address. */
  take({ question: number, answer: { code, answers } }: Extract<OutsideInput, { readonly event: 'resolved' }>): void {
    const { door, settings, answer } = this.services
    const known = this.waiting.get(number)
    this.waiting.delete(number)
    door.forget(number)
    if (known === undefined) return
    const translated = answers.map((each) => (known.question.type === DNS_TYPE.A && each.startsWith('127.') ? settings.gateway : each))
    answer(known.packet, encodeAnswer(known.question, CODES[code] ?? DNS_CODE.failure, translated))
  }

  /** Questions that wait for the outside. */
  get size(): number {
    return this.waiting.size
  }
}
