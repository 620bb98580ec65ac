/** The page that a PV kernel finds in RSI. Reference: xen/include/public/xen.h, struct start_info. */
import { MAX_GUEST_CMDLINE, PAGE_SIZE, SIF, StartInfo } from '../../abi/index.ts'
import { XenError } from '../../util/index.ts'
import type { DomainLayout } from './layout.ts'

/** What start_info says besides the layout. */
export interface StartInfoFacts {
  readonly commandLine: string
  readonly sharedInfoFrame: number
  readonly storeFrame: number
  readonly storePort: number
  readonly consoleFrame: number
  readonly consolePort: number
  /** The ramdisk is given by page number, not by address. */
  readonly moduleByFrame: boolean
}

const latin1 = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The command line as it goes into start_info. Throws INVALID_CONFIG when it does not fit: cut options mislead. */
export function encodeCommandLine(commandLine: string): Uint8Array {
  const bytes = latin1(commandLine)
  if (bytes.length >= MAX_GUEST_CMDLINE) {
    throw new XenError(
      'INVALID_CONFIG',
      `the command line has ${bytes.length} bytes, at most ${MAX_GUEST_CMDLINE - 1} fit`,
      {
        details: { key: 'commandLine', length: bytes.length, limit: MAX_GUEST_CMDLINE - 1 },
      },
    )
  }
  return bytes
}

/** Fills in start_info at `base`, which holds zeros. */
export function writeStartInfo(view: DataView, base: number, layout: DomainLayout, facts: StartInfoFacts): void {
  const { ramdisk, p2m } = layout
  StartInfo.magic.set(view, base, latin1('xen-3.0-x86_64'))
  StartInfo.nrPages.setNumber(view, base, layout.totalPages)
  StartInfo.sharedInfo.setNumber(view, base, facts.sharedInfoFrame * PAGE_SIZE)
  // Without VIRT_P2M_4TOOLS, as libxl starts its guests: they keep the three-level frame list up to date as well.
  StartInfo.flags.set(view, base, ramdisk !== undefined && facts.moduleByFrame ? SIF.MOD_START_PFN : 0)
  StartInfo.storeMfn.setNumber(view, base, facts.storeFrame)
  StartInfo.storeEvtchn.set(view, base, facts.storePort)
  StartInfo.consoleMfn.setNumber(view, base, facts.consoleFrame)
  StartInfo.consoleEvtchn.set(view, base, facts.consolePort)
  StartInfo.ptBase.set(view, base, BigInt.asUintN(64, BigInt(layout.pageTables.address)))
  StartInfo.nrPtFrames.setNumber(view, base, layout.pageTables.pages)
  StartInfo.mfnList.set(view, base, BigInt.asUintN(64, BigInt(p2m.address)))
  StartInfo.cmdLine.set(view, base, encodeCommandLine(facts.commandLine))
  if (p2m.ownMapping) {
    StartInfo.firstP2mPfn.setNumber(view, base, p2m.pfn)
    StartInfo.nrP2mFrames.setNumber(view, base, p2m.pages)
  }
  if (ramdisk === undefined) return
  const start = facts.moduleByFrame ? BigInt(ramdisk.pfn) : BigInt.asUintN(64, BigInt(ramdisk.address))
  StartInfo.modStart.set(view, base, start)
  StartInfo.modLen.setNumber(view, base, ramdisk.size)
}
