/**
 * Builds a domain for a guest written in TypeScript: real frames, of which three are start_info and the rings of
 * XenStore and console. It needs no page tables; everything else is as for any other guest.
 */
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, PAGE_SIZE, StartInfo } from '../../abi/index.ts'
import type { BootInfo } from '../../guest/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId, type EventPort, type GrantRef, type Mfn } from '../../util/index.ts'
import { encodeCommandLine } from './start-info.ts'

/** What to build. */
export interface TypeScriptBuild {
  readonly domid: DomId
  readonly pages: number
  readonly commandLine: string
  readonly storePort: EventPort
  readonly consolePort: EventPort
  readonly servedBy: DomId
}

/** Pages of start_info, XenStore's ring and the console's, by pseudo-physical number. */
const PAGE = { startInfo: 0, store: 1, console: 2 } as const

/** Builds the domain, which must be empty and paused. Throws OUT_OF_MEMORY. */
export function buildTypeScriptDomain(
  control: ControlInterface,
  build: TypeScriptBuild,
): { readonly storeFrame: Mfn; readonly consoleFrame: Mfn; readonly boot: BootInfo } {
  const { domid, pages } = build
  if (pages < 4)
    throw new XenError('OUT_OF_MEMORY', 'a guest needs at least 4 pages', { details: { totalPages: pages } })
  const frames = control.populatePhysmap(domid, pages, 0)
  const [startInfo, storeFrame, consoleFrame] = [frames[PAGE.startInfo]!, frames[PAGE.store]!, frames[PAGE.console]!]
  const { sharedInfoFrame } = control.domainInfo(domid)
  const page = control.frameBytes(domid, startInfo)
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
  StartInfo.magic.set(view, 0, new TextEncoder().encode('xen-3.0-x86_64'))
  StartInfo.nrPages.setNumber(view, 0, pages)
  StartInfo.sharedInfo.setNumber(view, 0, sharedInfoFrame * PAGE_SIZE)
  StartInfo.storeMfn.setNumber(view, 0, storeFrame)
  StartInfo.storeEvtchn.set(view, 0, build.storePort)
  StartInfo.consoleMfn.setNumber(view, 0, consoleFrame)
  StartInfo.consoleEvtchn.set(view, 0, build.consolePort)
  StartInfo.cmdLine.set(view, 0, encodeCommandLine(build.commandLine))
  control.markWritten(startInfo)
  control.seedGrant(domid, GNTTAB_RESERVED_CONSOLE as GrantRef, { remote: build.servedBy, frame: consoleFrame })
  control.seedGrant(domid, GNTTAB_RESERVED_XENSTORE as GrantRef, { remote: build.servedBy, frame: storeFrame })
  return {
    storeFrame, consoleFrame,
    boot: {
      sharedInfo: sharedInfoFrame, frames, startInfo, commandLine: build.commandLine,
      store: { frame: storeFrame, port: build.storePort }, console: { frame: consoleFrame, port: build.consolePort },
    },
  }
}
