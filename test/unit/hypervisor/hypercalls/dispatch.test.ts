import { describe, expect, test } from 'vitest'
import { DOMID, ERRNO, EVTCHNOP, EvtchnAllocUnbound, HYPERVISOR, MMUEXT, MmuextOp, MulticallEntry, SHUTDOWN, VMASST_CMD, XENVER } from '../../../../src/abi/index.ts'
import { TestHost } from '../../../support/hypervisor-host.ts'

/** Numbers of public/xen.h that have no meaning for a guest on x86. */
const WITHOUT_HANDLER = ['arch_1', 'arch_2', 'arch_3', 'arch_4', 'arch_5', 'arch_6', 'arch_7']

describe('the hypercall table', () => {
  test('has each number of the interface exactly once', () => {
    const { hypervisor } = new TestHost()
    const wanted = Object.entries(HYPERVISOR).filter(([name]) => !WITHOUT_HANDLER.includes(name)).map(([, number]) => number)
    expect([...hypervisor.hypercallNumbers].sort((a, b) => a - b)).toEqual([...new Set(wanted)].sort((a, b) => a - b))
    expect(new Set(wanted).size).toBe(wanted.length)
  })

  test.each([11, 63, 64, 1000, 2 ** 31])('answers -ENOSYS to number %i', (number) => {
    const host = new TestHost()
    const guest = host.guest()
    expect(host.hypervisor.port(guest.domid).hypercall(number, [])).toBe(-ERRNO.ENOSYS)
  })

  const refused: [keyof typeof HYPERVISOR, number][] = [
    ['domctl', -ERRNO.EFAULT], ['sysctl', -ERRNO.EFAULT], ['platform_op', -ERRNO.EFAULT], ['arch_0', -ERRNO.EPERM], ['hvm_op', -ERRNO.EFAULT],
    ['xsm_op', -ERRNO.ENOSYS], ['xenpmu_op', -ERRNO.EOPNOTSUPP], ['tmem_op', -ERRNO.ENOSYS],
  ]
  test.each(refused)('refuses %s to an unprivileged domain', (name, answer) => {
    const host = new TestHost()
    expect(host.guest().call(name, 1)).toBe(answer)
  })
})

describe('multicall', () => {
  function multicall(calls: readonly (readonly [number, ...number[]])[]): { result: number; results: bigint[] } {
    const host = new TestHost()
    const guest = host.guest()
    const { view, scratch } = guest
    calls.forEach(([op, ...args], i) => {
      const at = scratch + 512 + i * MulticallEntry.size
      MulticallEntry.encode(view, at, { op: BigInt(op), result: 77n, args: [0, 1, 2, 3, 4, 5].map((n) => BigInt(args[n] ?? 0)) })
    })
    const result = guest.call('multicall', scratch + 512, calls.length)
    const results = calls.map((_, i) => view.getBigInt64(scratch + 512 + i * MulticallEntry.size + 8, true))
    return { result, results }
  }

  test('makes one call after another and stores each result', () => {
    const version = [HYPERVISOR.xen_version, XENVER.version, 0] as const
    const { result, results } = multicall([version, [62], version])
    expect(result).toBe(0)
    expect(results).toEqual([0x4_0011n, BigInt(-ERRNO.ENOSYS), 0x4_0011n])
  })

  test('refuses itself inside itself', () => {
    expect(multicall([[HYPERVISOR.multicall, 0, 1]]).results).toEqual([BigInt(-ERRNO.EINVAL)])
  })

  test('faults on a list that cannot be read', () => {
    const guest = new TestHost().guest()
    expect(guest.call('multicall', 16, 1)).toBe(-ERRNO.EFAULT)
  })

  test('goes on where a long batch inside it was interrupted', () => {
    const host = new TestHost()
    const guest = host.guest({ pages: 200 })
    const { view, scratch } = guest
    // 6,000 operations of 24 bytes do not fit into one frame: the frames are in a row.
    const list = guest.frames[10]! * 4096
    for (let i = 0; i < 6000; i += 1) MmuextOp.cmd.set(view, list + i * MmuextOp.size, MMUEXT.TLB_FLUSH_LOCAL)
    MulticallEntry.encode(view, scratch + 512, {
      op: BigInt(HYPERVISOR.mmuext_op), result: 77n, args: [BigInt(list), 6000n, BigInt(scratch), BigInt(DOMID.SELF), 0n, 0n],
    })
    expect(guest.call('multicall', scratch + 512, 1)).toBe(0)
    expect(view.getBigInt64(scratch + 520, true)).toBe(0n)
    expect(view.getUint32(scratch, true)).toBe(6000)
  })
})

describe('small hypercalls', () => {
  test('allocate an event channel and write the port back', () => {
    const host = new TestHost()
    const guest = host.guest()
    EvtchnAllocUnbound.encode(guest.view, guest.scratch, { dom: DOMID.SELF, remoteDom: 0, port: 0 })
    expect(guest.call('event_channel_op', EVTCHNOP.alloc_unbound, guest.scratch)).toBe(0)
    expect(EvtchnAllocUnbound.port.get(guest.view, guest.scratch)).toBe(1)
  })

  test('shut the domain down with the first reason that is given', () => {
    const host = new TestHost()
    const guest = host.guest()
    guest.view.setUint32(guest.scratch, SHUTDOWN.reboot, true)
    expect(guest.call('sched_op', 5, guest.scratch)).toBe(0)
    guest.view.setUint32(guest.scratch, SHUTDOWN.poweroff, true)
    expect(guest.call('sched_op', 2, guest.scratch)).toBe(0)
    expect(host.hypervisor.domainInfo(guest.domid).shutdownReason).toBe(SHUTDOWN.reboot)
  })

  test('know the vm_assist types of a 64-bit guest', () => {
    const guest = new TestHost().guest()
    const answers = [0, 1, 2, 3, 4, 5, 6, 31, 32, 64].map((type) => guest.call('vm_assist', VMASST_CMD.enable, type))
    expect(answers).toEqual([0, 0, 0, 0, 0, 0, -22, -22, 0, -22])
    expect(guest.call('vm_assist', 7, 0)).toBe(-ERRNO.ENOSYS)
  })

  test('let a guest write to the hypervisor\'s console, but not flood it', () => {
    const host = new TestHost()
    const guest = host.guest()
    host.memory.bytes.set(new TextEncoder().encode('hello\n'), guest.scratch)
    expect(guest.call('console_io', 0, 6, guest.scratch)).toBe(0)
    expect(host.hypervisor.readConsole({ clear: true })).toBe(`(d${guest.domid}) hello\n`)
    // Each byte is a character, whatever it is.
    host.memory.bytes.set([0x7f, 0x80, 0x92, 0x9f, 0xff, 0x0a], guest.scratch)
    expect(guest.call('console_io', 0, 6, guest.scratch)).toBe(0)
    expect(host.hypervisor.readConsole({ clear: true })).toContain('\x7f\x80\x92\x9f\xff\n')
    for (let i = 0; i < 100; i += 1) expect(guest.call('console_io', 0, 4096, guest.scratch)).toBe(0)
    expect(host.hypervisor.readConsole().length).toBeLessThanOrEqual(16384)
  })
})
