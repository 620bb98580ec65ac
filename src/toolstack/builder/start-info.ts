/** The page that a PV kernel finds in RSI. Reference: xen/include/public/xen.h, struct start_info. */
import { type GuestAbi, MAX_GUEST_CMDLINE, PAGE_SIZE, SIF, StartInfo } from '../../abi/index.ts'
import { XenError } from '../../util/index.ts'
import type { DomainLayout } from './layout.ts'

/** What start_info says besides the layout. */
export interface StartInfoFacts {
  /** What the guest speaks. */
  readonly abi: GuestAbi
  readonly commandLine: string
  readonly sharedInfoFrame: number
  readonly storeFrame: number
  readonly storePort: number
  readonly consoleFrame: number
  readonly consolePort: number
  /** The ramdisk is given by page number, not by address. */
  readonly moduleByFrame: boolean
  /** It is told that it is the initial domain, whose console is the hypervisor's unless it has a ring. */
  readonly initial?: boolean | undefined
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

/** What a guest of each width reads first. Reference: tools/libs/guest/xg_dom_elfloader.c, xc_dom_guest_type. */
const MAGIC = { native: 'xen-3.0-x86_64', compat: 'xen-3.0-x86_32p' } as const

/**
 * Fills in start_info at `base`, which holds zeros. To the initial domain the console's fields mean where it is told of a
 * screen; zeros there: it has none.
 */
export function writeStartInfo(view: DataView, base: number, layout: DomainLayout, facts: StartInfoFacts): void {
  const { ramdisk, p2m } = layout
  const info = facts.abi.of(StartInfo)
  info.magic.set(view, base, latin1(MAGIC[facts.abi.name]))
  info.nrPages.setNumber(view, base, layout.totalPages)
  info.sharedInfo.setNumber(view, base, facts.sharedInfoFrame * PAGE_SIZE)
  const byFrame = ramdisk !== undefined && facts.moduleByFrame ? SIF.MOD_START_PFN : 0
  // To kernels whose list of frames has a mapping of its own: who saves them reads it there. As libxc has it, whose caller libxl writes over it; and then Linux brings the tree
  // of frames up to date besides, in half a million instructions whenever it is suspended.
  const byAddress = p2m.ownMapping ? SIF.VIRT_P2M_4TOOLS : 0
  info.flags.set(view, base, byFrame | (facts.initial === true ? SIF.PRIVILEGED | SIF.INITDOMAIN : byAddress))
  info.storeMfn.setNumber(view, base, facts.storeFrame)
  info.storeEvtchn.set(view, base, facts.storePort)
  info.consoleMfn.setNumber(view, base, facts.consoleFrame)
  info.consoleEvtchn.set(view, base, facts.consolePort)
  info.ptBase.set(view, base, BigInt.asUintN(64, BigInt(layout.pageTables.address)))
  info.nrPtFrames.setNumber(view, base, layout.pageTables.pages)
  info.mfnList.set(view, base, BigInt.asUintN(64, BigInt(p2m.address)))
  info.cmdLine.set(view, base, encodeCommandLine(facts.commandLine))
  if (p2m.ownMapping) {
    info.firstP2mPfn.setNumber(view, base, p2m.pfn)
    info.nrP2mFrames.setNumber(view, base, p2m.pages)
  }
  if (ramdisk === undefined) return
  const start = facts.moduleByFrame ? BigInt(ramdisk.pfn) : BigInt.asUintN(64, BigInt(ramdisk.address))
  info.modStart.set(view, base, start)
  info.modLen.setNumber(view, base, ramdisk.size)
}
