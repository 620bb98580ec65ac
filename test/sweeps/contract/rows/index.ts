/** The rows of the contract, in the order of the table. */
import type { ContractRow } from '../cell.ts'
import { balloon } from './balloon.ts'
import { block } from './block.ts'
import { boot } from './boot.ts'
import { coherence } from './coherence.ts'
import { console } from './console.ts'
import { crashReport } from './crash-report.ts'
import { folder } from './folder.ts'
import { events } from './events.ts'
import { grants } from './grants.ts'
import { hostileCode } from './hostile-code.ts'
import { invariants } from './invariants.ts'
import { migrate } from './migrate.ts'
import { moments } from './moments.ts'
import { net } from './net.ts'
import { saveAndRestore } from './save.ts'
import { softReset } from './soft-reset.ts'
import { crash, poweroff, reboot, suspend, watchdog } from './shutdown.ts'
import { vcpuSet } from './vcpu-set.ts'
import { xenstore } from './xenstore.ts'

/** All rows. */
export const ROWS: readonly ContractRow[] = [
  boot, console, xenstore, events, grants, block, folder, net, balloon, vcpuSet, poweroff, reboot, suspend, softReset, crash, watchdog, crashReport,
  saveAndRestore, migrate, moments, invariants, coherence, hostileCode,
]
