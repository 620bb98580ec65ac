/** What a privileged domain asks of the machine below, which has no ACPI, EFI or PCI: platform_op, mca, its memory map, its console. */
import { describe, expect, test } from 'vitest'
import {
  CONSOLEIO, ERRNO, EVTCHNOP, EvtchnBindVirq, MCA, McinfoLogicalCpu, SharedInfo, VIRQ, XENMEM, XENPF, XENPF_INTERFACE_VERSION, XEN_FW, XEN_MCA_INTERFACE_VERSION,
  XEN_MC_FLAGS, XenMc, XenMcFetch, XenMcPhyscpuinfo, XenMemoryMap, XenPlatformOp, XenpfFirmwareInfo, XenpfPcpuinfo, XenpfSettime64,
} from '../../../../src/abi/index.ts'
import { TestHost, type TestGuest } from '../../../support/hypervisor-host.ts'

const BODY = 8

function platform(guest: TestGuest, command: number, fill?: (view: DataView, at: number) => void): number {
  const { view, scratch } = guest
  new Uint8Array(view.buffer).fill(0, scratch, scratch + XenPlatformOp.size)
  XenPlatformOp.cmd.set(view, scratch, command)
  XenPlatformOp.interfaceVersion.set(view, scratch, XENPF_INTERFACE_VERSION)
  fill?.(view, scratch + BODY)
  return guest.call('platform_op', scratch)
}

describe('platform_op', () => {
  const firmware = (guest: TestGuest, type: number, index: number): number => platform(guest, XENPF.firmware_info, (view, at) => {
    XenpfFirmwareInfo.type.set(view, at, type)
    XenpfFirmwareInfo.index.set(view, at, index)
  })

  test('tells the keyboard\'s flags, and of no disk, no screen and no EFI', () => {
    const guest = new TestHost().guest({ privileged: true })
    const asked = ([[XEN_FW.KBD_SHIFT_FLAGS, 0], [XEN_FW.KBD_SHIFT_FLAGS, 1], [XEN_FW.DISK_INFO, 0], [XEN_FW.DISK_MBR_SIGNATURE, 0], [XEN_FW.VBEDDC_INFO, 0], [XEN_FW.EFI_INFO, 1], [9, 0]] as const)
      .map(([type, index]) => firmware(guest, type, index))
    expect(asked).toEqual([0, -ERRNO.ESRCH, -ERRNO.ESRCH, -ERRNO.ESRCH, -ERRNO.ESRCH, -ERRNO.ENOSYS, -ERRNO.EINVAL])
  })

  test('tells each CPU, and which is the last', () => {
    const guest = new TestHost({ physicalCpus: 2 }).guest({ privileged: true })
    const cpu = (number: number): number[] => {
      expect(platform(guest, XENPF.get_cpuinfo, (view, at) => XenpfPcpuinfo.xenCpuid.set(view, at, number))).toBe(0)
      return (['xenCpuid', 'maxPresent', 'flags', 'apicId', 'acpiId'] as const).map((name) => XenpfPcpuinfo[name].get(guest.view, guest.scratch + BODY))
    }
    expect([cpu(0), cpu(1), cpu(2)]).toEqual([[0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [2, 1, 2, 0, 0]])
  })

  test('sets the calendar of every domain, those to come too, and of a host that is loaded', () => {
    const host = new TestHost()
    const [guest, other] = [host.guest({ privileged: true }), host.guest()]
    const set = (mbz: number): number => platform(guest, XENPF.settime64, (view, at) => {
      XenpfSettime64.secs.set(view, at, 1_700_000_000n)
      XenpfSettime64.nsecs.set(view, at, 5)
      XenpfSettime64.mbz.set(view, at, mbz)
      XenpfSettime64.systemTime.set(view, at, 1_000_000_000n)
    })
    const seconds = ({ domid }: TestGuest): number => SharedInfo.wcSec.get(host.memory.view, host.hypervisor.domainInfo(domid).sharedInfoFrame * 4096)
    expect([set(1), seconds(other)]).toEqual([-ERRNO.EINVAL, 0])
    expect([set(0), seconds(guest), seconds(other), seconds(host.guest())]).toEqual([0, 1_699_999_999, 1_699_999_999, 1_699_999_999])
    expect(host.hypervisor.save().parts['wall-clock']).toMatchObject({ state: { seconds: 1_699_999_999, nanoseconds: 5 } })
  })

  test('asks for its version first, then for privilege', () => {
    const host = new TestHost()
    const [guest, plain] = [host.guest({ privileged: true }), host.guest()]
    expect(platform(guest, XENPF.get_cpuinfo, (view, at) => XenPlatformOp.interfaceVersion.set(view, at - BODY, 0x0300_0000))).toBe(-ERRNO.EACCES)
    expect([platform(plain, XENPF.get_cpuinfo), platform(guest, 1), guest.call('platform_op', 3)]).toEqual([-ERRNO.EPERM, -ERRNO.ENOSYS, -ERRNO.EFAULT])
  })
})

describe('mca', () => {
  function ask(guest: TestGuest, command: number, fill: (view: DataView, at: number) => void): number {
    const { view, scratch } = guest
    XenMc.cmd.set(view, scratch, command)
    XenMc.interfaceVersion.set(view, scratch, XEN_MCA_INTERFACE_VERSION)
    fill(view, scratch + BODY)
    return guest.call('arch_0', scratch)
  }

  test('counts the CPUs, then tells them', () => {
    const guest = new TestHost({ physicalCpus: 3 }).guest({ privileged: true })
    const { view, scratch } = guest
    const list = scratch + 2048
    const cpus = (count: number, info: number): number => ask(guest, MCA.physcpuinfo, (target, at) => {
      XenMcPhyscpuinfo.ncpus.set(target, at, count)
      XenMcPhyscpuinfo.info.setNumber(target, at, info)
    })
    expect([cpus(0, 0), XenMcPhyscpuinfo.ncpus.get(view, scratch + BODY)]).toEqual([0, 3])
    expect([cpus(0, list), cpus(2, 3), cpus(2, list), XenMcPhyscpuinfo.ncpus.get(view, scratch + BODY)]).toEqual([-ERRNO.EINVAL, -ERRNO.EFAULT, 0, 2])
    expect(McinfoLogicalCpu.mcCpunr.get(view, list + McinfoLogicalCpu.size)).toBe(1)
  })

  test('has no reports', () => {
    const guest = new TestHost().guest({ privileged: true })
    const fetch = (flags: number, data: number): number => ask(guest, MCA.fetch, (view, at) => {
      XenMcFetch.flags.set(view, at, flags)
      XenMcFetch.data.setNumber(view, at, data)
    })
    expect([fetch(0, 1), fetch(XEN_MC_FLAGS.NONURGENT, 0), fetch(XEN_MC_FLAGS.URGENT, 4096)]).toEqual([-ERRNO.EINVAL, -ERRNO.EINVAL, 0])
    expect(XenMcFetch.flags.get(guest.view, guest.scratch + BODY)).toBe(XEN_MC_FLAGS.NODATA)
  })
})

test('the machine\'s memory is one range, for a privileged domain with room for one entry more', () => {
  const host = new TestHost()
  const [guest, plain] = [host.guest({ privileged: true }), host.guest()]
  const map = (caller: TestGuest, room: number): number => {
    XenMemoryMap.nrEntries.set(caller.view, caller.scratch, room)
    XenMemoryMap.buffer.setNumber(caller.view, caller.scratch, caller.scratch + 64)
    return caller.call('memory_op', XENMEM.machine_memory_map, caller.scratch)
  }
  expect([map(plain, 8), map(guest, 1), map(guest, 2)]).toEqual([-ERRNO.EPERM, -ERRNO.EINVAL, 0])
  const { view, scratch } = guest
  expect([XenMemoryMap.nrEntries.get(view, scratch), view.getBigUint64(scratch + 64, true), view.getBigUint64(scratch + 72, true), view.getUint32(scratch + 80, true)])
    .toEqual([1, 0n, BigInt(host.memory.endFrame * 4096), 1])
})

test('a privileged domain is told of what is typed, and reads it piece by piece', () => {
  const host = new TestHost()
  const guest = host.guest({ privileged: true })
  expect(guest.domid).toBe(0)
  const { view, scratch } = guest
  EvtchnBindVirq.virq.set(view, scratch, VIRQ.CONSOLE)
  EvtchnBindVirq.vcpu.set(view, scratch, 0)
  expect(guest.call('event_channel_op', EVTCHNOP.bind_virq, scratch)).toBe(0)
  const port = EvtchnBindVirq.port.get(view, scratch)
  const isPending = (): boolean =>
    (view.getUint32(host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096 + SharedInfo.evtchnPending.offset, true) & (1 << port)) !== 0
  const read = (count: number): string => {
    const length = guest.call('console_io', CONSOLEIO.read, count, scratch)
    return length < 0 ? String(length) : new TextDecoder().decode(new Uint8Array(view.buffer, scratch, length).slice())
  }
  expect([isPending(), read(9)]).toEqual([false, ''])
  expect([host.hypervisor.typeConsole(new TextEncoder().encode('hello')), isPending()]).toEqual([5, true])
  expect([read(2), guest.call('console_io', CONSOLEIO.read, 2, 3), read(9), read(9)]).toEqual(['he', -ERRNO.EFAULT, 'llo', ''])
  expect(host.guest().call('console_io', CONSOLEIO.read, 2, scratch)).toBe(-ERRNO.EPERM)
  expect(host.hypervisor.typeConsole(new Uint8Array(20_000))).toBe(16_384)
  expect(host.hypervisor.consoleRoom()).toBe(0)
})
