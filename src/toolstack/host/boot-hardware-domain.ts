/**
 * The kernel that was given for dom0, on a host whose services are this library's: it is made as a guest is, is privileged, and everything
 * on the host stands when it ends, as where it is domain 0.
 */
import { XenError } from '../../util/index.ts'
import { DEFAULT_MEBIBYTES, HARDWARE_NAME, hardwareDomainOf } from '../initial-domain/hardware-domain.ts'
import { shutdownReasonName } from '../domains/shutdown-reason.ts'
import type { HostParts } from '../boot/boot-host.ts'
import type { CreateProgress } from '../create/create-domain.ts'
import type { Domain } from './domain.ts'
import type { HostInsides } from './host-state.ts'

/** Whatever it ends by, it can be looked at. */
const ACTIONS = { poweroff: 'preserve', reboot: 'preserve', crash: 'preserve', watchdog: 'preserve' } as const

/** Makes the hardware domain and starts it, where there is to be one. Rejects as `createDomain` does, and with INVALID_CONFIG where there is no kernel. */
export async function bootHardwareDomain({ parts: { options }, guests }: HostInsides): Promise<void> {
  const hardwareDomain = hardwareDomainOf(options)
  if (hardwareDomain === undefined) return
  const { kernel, ramdisk, commandLine, memory = Math.min(DEFAULT_MEBIBYTES, Math.floor(options.memory / 2)), vcpus = 1 } = options.dom0!
  if (kernel === undefined) throw new XenError('INVALID_CONFIG', 'dom0 has no kernel: give dom0.kernel', { details: { key: 'dom0.kernel' } })
  const config = { name: HARDWARE_NAME, kernel, ramdisk, commandLine, memory, vcpus, driverDomain: true, actions: ACTIONS }
  await guests.operations.start<Domain, CreateProgress>({ name: 'booting dom0', isOutside: true }, (context) => guests.create(config, { hardwareDomain }, context))
}

/** Tells of its end as of that of a dom0 which serves itself. */
export function followHardwareDomain({ options, control, onDom0Shutdown }: HostParts): void {
  const hardwareDomain = hardwareDomainOf(options)
  if (hardwareDomain === undefined) return
  control.events.on('domain-shutdown', ({ domid, reason }) => {
    if (domid === hardwareDomain) onDom0Shutdown.current(shutdownReasonName(reason))
  })
}
