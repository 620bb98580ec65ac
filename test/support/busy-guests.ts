/**
 * Two PV guests of machine code on one host, two vCPUs each, that do all that a hypervisor keeps state of: they compute
 * (integers, x87, SSE, time stamps), send each other events, set timers, block and yield, write page tables by hypercall
 * and by plain stores, map and unmap a grant, write to a page they share, and to the console. They never end, and what
 * they have done stands in their data pages.
 */
import { MMUEXT, VIRQ } from '../../src/abi/index.ts'
import type { DomId } from '../../src/util/index.ts'
import { type Assembly, assembleListing } from './assembler.ts'
import { WRITE } from './hypervisor-host.ts'
import { BASE, MachineGuest, MachineHost, TABLES, type MachineHostOptions } from './machine-host.ts'

/** Frames of a guest, by number; each vCPU has a data page, a stack and a page that it maps anew. */
const FRAME = { code: 4, handlers: 8, data: 10, scratch: 12, stack: 14, shared: 18, moving: 20 } as const
/** Slots of the level-1 table behind the frames: shared_info, the pages that are mapped anew, the grant. */
const SLOT = { info: 100, moving: 102, grant: 106 } as const
const GRANT_REF = 9
const CODE_BYTES = 0x1000

const addressOf = (slot: number): number => BASE + slot * 4096

/** What the code of one vCPU is made for. */
interface Place {
  readonly guest: MachineGuest
  readonly peer: DomId
  readonly vcpu: number
  /** Port that reaches the other domain. */
  readonly port: number
  readonly mapsGrant: boolean
}

/** Structures in the data page: a port, requests to map, unmap and flush, text. */
const DATA = { counter: 0, hash: 8, events: 16, ticks: 24, double: 32, vector: 48, port: 64, map: 128, unmap: 160, text: 192, flush: 208 } as const

/** Puts into rdi when so many nanoseconds will have passed: the time-stamp counter counts them. */
const soon = (delay: number): string => `rdtsc;  shl $32,%rdx;  lea ${delay}(%rax,%rdx,1),%rdi`

function listing({ guest, vcpu, mapsGrant }: Place): string {
  const data = guest.at(FRAME.data + vcpu)
  const info = addressOf(SLOT.info) + vcpu * 64
  const moving = addressOf(SLOT.moving + vcpu)
  const entry = (i: number): number => guest.frames[FRAME.moving + vcpu * 2 + i]! * 4096 + WRITE
  const entryAt = guest.at(TABLES.l1) + ((moving >> 12) & 511) * 8
  const grant = `
    mov $1,%edi;  mov $${data + DATA.unmap},%esi;  mov $1,%edx;  mov $20,%eax;  syscall
    mov $0,%edi;  mov $${data + DATA.map},%esi;    mov $1,%edx;  mov $20,%eax;  syscall
    mov ${DATA.map + 20}(%rbx),%eax
    mov %eax,${DATA.unmap + 16}(%rbx)
    lock incq ${addressOf(SLOT.grant) + 8}
  `
  return `
  start:
    mov $${data},%ebx
    mov $${guest.at(FRAME.scratch + vcpu)},%ebp
    fld1
  again:
    incq (%rbx)
    mov (%rbx),%rax
    imul $0x1e3779b1,%rax,%rax
    add %rax,${DATA.hash}(%rbx)
    mov ${DATA.hash}(%rbx),%rax
    mov %rax,%rcx
    shr $7,%rcx
    and $0xff8,%ecx
    xor %rax,(%rbp,%rcx,1)
    movdqu ${DATA.vector}(%rbx),%xmm1
    movq %rax,%xmm2
    paddq %xmm2,%xmm1
    movdqu %xmm1,${DATA.vector}(%rbx)
    fld %st(0)
    fadd %st,%st(1)
    fstpl ${DATA.double}(%rbx)
    mov (%rbx),%eax
    test $0x3f,%eax
    jne again
    rdtsc
    add %rax,${DATA.hash}(%rbx)
    lock incq ${mapsGrant ? addressOf(SLOT.grant) : guest.at(FRAME.shared)}
    mov (%rbx),%eax
    test $0x1ff,%eax
    jne 1f
    mov $4,%edi;  mov $${data + DATA.port},%esi;  mov $32,%eax;  syscall
  1:  mov (%rbx),%eax
    test $0x3ff,%eax
    jne 2f
    mov $${moving},%edi;  mov $${entry(0)},%esi;  mov $2,%edx;  mov $14,%eax;  syscall
    incq ${moving}
    mov $${entry(1)},%eax
    mov %rax,${entryAt}
    mov $${data + DATA.flush},%edi;  mov $1,%esi;  xor %edx,%edx;  mov $0x7ff0,%r10d;  mov $26,%eax;  syscall
    incq ${moving}
    ${mapsGrant ? grant : ''}
  2:  mov (%rbx),%eax
    test $0x1fff,%eax
    jne 3f
    mov $0,%edi;  mov $8,%esi;  mov $${data + DATA.text},%edx;  mov $18,%eax;  syscall
    xor %edi,%edi;  xor %esi,%esi;  mov $29,%eax;  syscall
  3:  mov (%rbx),%eax
    test $0x3fff,%eax
    jne again
    ${soon(400_000)}
    mov $15,%eax;  syscall
    mov $1,%edi;  xor %esi,%esi;  mov $29,%eax;  syscall
    jmp again
  event:
    push %rax;  push %rdx;  push %rsi;  push %rdi
    movb $0,${info}
    xor %eax,%eax
    xchg %rax,${info + 8}
    xor %eax,%eax
    xchg %rax,${addressOf(SLOT.info) + 0x800}
    add %rax,${data + DATA.events}
    incq ${data + DATA.ticks}
    ${soon(150_000)}
    mov $15,%eax;  syscall
    pop %rdi;  pop %rsi;  pop %rdx;  pop %rax
    pop %rcx;  pop %r11
    push $0;  push %rcx;  push %r11;  push %rax
    mov $23,%eax;  syscall
  trap:
    jmp trap
  `
}

/** Two guests that have been started. */
export class BusyGuests {
  readonly host: MachineHost
  readonly guests: readonly MachineGuest[]
  private readonly code = new Map<string, Assembly>()

  constructor(options: MachineHostOptions = {}) {
    this.host = new MachineHost(undefined, { physicalCpus: 2, ...options })
    this.guests = [0, 1].map(() => new MachineGuest(this.host, { vcpus: 2 }))
    const ports = this.bindPorts()
    this.guests.forEach((guest, i) => {
      const { sharedInfoFrame } = this.host.hypervisor.domainInfo(guest.domid)
      guest.poke(guest.frames[TABLES.l1]!, (addressOf(SLOT.info) >> 12) & 511, sharedInfoFrame, WRITE)
      for (const vcpu of [0, 1]) this.place({ guest, peer: this.guests[1 - i]!.domid, vcpu, port: ports[i]![vcpu]!, mapsGrant: i === 1 && vcpu === 0 })
    })
    const [granter, user] = this.guests as [MachineGuest, MachineGuest]
    const { hypervisor } = this.host
    hypervisor.seedGrant(granter.domid, GRANT_REF as never, { remote: user.domid, frame: granter.frames[FRAME.shared]! })
    for (const guest of this.guests) for (const vcpu of [0, 1]) this.start(guest, vcpu)
    user.call('grant_table_op', 0, user.at(FRAME.data, DATA.map), 1)
    const { view } = this.host.machine.memory
    view.setUint32(user.place(FRAME.data, DATA.unmap + 16), view.getUint32(user.place(FRAME.data, DATA.map + 20), true), true)
    for (const { domid } of this.guests) hypervisor.unpauseDomain(domid)
  }

  /** Two channels between the domains, one for each vCPU; a timer for each. */
  private bindPorts(): readonly (readonly number[])[] {
    const { hypervisor } = this.host
    const [one, other] = this.guests.map(({ domid }) => hypervisor.port(domid))
    const pairs = [0, 1].map((vcpu) => {
      for (const port of [one!, other!]) port.bindVirq(VIRQ.TIMER, vcpu)
      const unbound = one!.allocUnbound(one!.domid, other!.domid)
      return [unbound, other!.bindInterdomain(one!.domid, unbound as never)] as const
    })
    return [pairs.map(([port]) => port), pairs.map(([, port]) => port)]
  }

  private place(place: Place): void {
    const { guest, vcpu, peer, port } = place
    const origin = guest.at(FRAME.code + vcpu)
    const code = assembleListing(listing(place), { origin })
    if (code.bytes.length > CODE_BYTES) throw new Error('the code of a busy guest does not fit its page')
    guest.load(FRAME.code + vcpu, code.bytes)
    this.code.set(`${guest.domid}.${vcpu}`, code)
    const { view, bytes } = this.host.machine.memory
    const at = (field: keyof typeof DATA): number => guest.place(FRAME.data + vcpu, DATA[field])
    view.setUint32(at('port'), port, true)
    view.setBigUint64(at('map'), BigInt(addressOf(SLOT.grant)), true)
    view.setUint32(at('map') + 8, 2, true)
    view.setUint32(at('map') + 12, GRANT_REF, true)
    view.setUint16(at('map') + 16, peer, true)
    view.setBigUint64(at('unmap'), BigInt(addressOf(SLOT.grant)), true)
    view.setUint32(at('flush'), MMUEXT.INVLPG_LOCAL, true)
    view.setBigUint64(at('flush') + 8, BigInt(addressOf(SLOT.moving + vcpu)), true)
    bytes.set(new TextEncoder().encode(`busy ${guest.domid}${vcpu}\n`.slice(-8)), at('text'))
  }

  private start(guest: MachineGuest, vcpu: number): void {
    const { labels } = this.code.get(`${guest.domid}.${vcpu}`)!
    const context = guest.context({ start: labels.get('start')!, trap: labels.get('trap')!, stack: guest.at(FRAME.stack + vcpu * 2 + 1) })
    this.host.hypervisor.setVcpuContext(guest.domid, vcpu, { ...context, eventCallback: BigInt(labels.get('event')!) })
  }

  /** What each vCPU has counted: rounds, events, ticks; and what both have counted in the page they share. */
  progress(): Record<string, bigint> {
    const { view } = this.host.machine.memory
    const seen = this.guests.flatMap((guest, i) => [0, 1].flatMap((vcpu) => (['counter', 'ticks'] as const).map((field) => (
      [`${'ab'[i]}${vcpu} ${field}`, view.getBigUint64(guest.place(FRAME.data + vcpu, DATA[field]), true)] as const
    ))))
    const shared = this.guests[0]!.place(FRAME.shared)
    return { ...Object.fromEntries(seen), shared: view.getBigUint64(shared, true), maps: view.getBigUint64(shared + 8, true) }
  }
}

