/**
 * Hypercalls that this hypervisor refuses as a whole.
 * Reference: xen/include/public/kexec.h, hvm/, argo.h, pmu.h, xenoprof.h,
 * xsm/flask_op.h, tmem.h.
 */
import {
  ARGO_OP, DMOP, FLASK, KEXEC_CMD, TMEM, XENOPROF, XENPMU,
} from '../../abi/index.ts'
import type { HypercallName, HypercallRow, Support } from '../domains/hypercall.ts'
import { refusalNumber, refused } from '../domains/hypercall-rows.ts'

/** For privileged domains only, and not there for them either. */
const HOST = /* @__PURE__ */ refused('EPERM', 'there is no hardware below to manage', 'ENOSYS')
const TRANSLATED = 'it is for translated guests'

/** A hypercall all of whose operations have the same answer. */
interface RefusedFamily {
  readonly prefix: string
  readonly numbers: Readonly<Record<string, number>>
  readonly support: Support
  readonly source: string
}

const FAMILIES: Readonly<Partial<Record<HypercallName, RefusedFamily>>> = {
  xsm_op: {
    prefix: 'FLASK_', numbers: FLASK, source: 'public/xsm/flask_op.h',
    support: /* @__PURE__ */ refused('ENOSYS', 'there is no security module, as in a Xen built without one'),
  },
  xenoprof_op: {
    prefix: 'XENOPROF_', numbers: XENOPROF, source: 'public/xenoprof.h',
    support: /* @__PURE__ */ refused('ENOSYS', 'not built in, as in Debian\'s Xen'),
  },
  kexec_op: { prefix: 'KEXEC_CMD_', numbers: KEXEC_CMD, support: HOST, source: 'public/kexec.h' },
  tmem_op: {
    prefix: 'TMEM_', numbers: TMEM, source: 'public/tmem.h', support: /* @__PURE__ */ refused('ENOSYS', 'Xen has dropped it'),
  },
  argo_op: {
    prefix: 'XEN_ARGO_OP_', numbers: ARGO_OP, source: 'public/argo.h',
    support: /* @__PURE__ */ refused('ENOSYS', 'off, as in Xen without the option argo'),
  },
  xenpmu_op: {
    prefix: 'XENPMU_', numbers: XENPMU, source: 'public/pmu.h',
    support: /* @__PURE__ */ refused('EOPNOTSUPP', 'off, as in Xen without the option vpmu'),
  },
  dm_op: { prefix: 'XEN_DMOP_', numbers: DMOP, support: /* @__PURE__ */ refused('EOPNOTSUPP', TRANSLATED), source: 'public/hvm/dm_op.h' },
}

/** Makes the rows of the hypercalls that are refused. */
export function refusedHypercalls(): HypercallRow[] {
  return Object.entries(FAMILIES).map(([name, { prefix, numbers, support, source }]) => ({
    name: name as HypercallName, source,
    handler: (caller) => refusalNumber(support, caller),
    operations: [{ prefix, rows: Object.entries(numbers).map(([key, number]) => ({ name: key, number, support })) }],
  }))
}
