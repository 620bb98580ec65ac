/** Folders: `9pfs` devices. Reference: xl.cfg(5), p9; libxl_9pfs.c; libxl_types.idl, libxl_device_p9. */
import * as z from 'zod/mini'
import { XenError } from '../../../util/index.ts'
import type { DescribedDevice, DeviceSaved } from '../described-device.ts'
import { unlessDefault } from '../saved-fields.ts'
import { formatFolder, parseFolder, resolveFolder, type FolderConfig, type FolderDescription } from './folder-specification.ts'

/** As the driver has it; said here once more, so that who only describes folders brings no driver along. */
const NAME = '9pfs'

const text = /* @__PURE__ */ z.string()
const schema = /* @__PURE__ */ z.object({ backend_domname: z.optional(text), tag: text, path: text, security_model: z.optional(z.literal('none')) })

/** Folders of a saved domain, as libxl's JSON has them. */
const SAVED: DeviceSaved<FolderConfig> = {
  key: 'p9s',
  schema,
  write: ({ tag, path, securityModel, backend }, index) =>
    ({ backend_domname: unlessDefault(backend, '0'), tag, path, security_model: securityModel, devid: index }),
  read({ tag, path, backend_domname: backend = '0' }: z.infer<typeof schema>) {
    return resolveFolder({ tag, path, backend })
  },
}

/** Folders. */
export const FOLDER = {
  name: NAME,
  title: 'folder',
  about: 'Folders, which the guest mounts by 9P: `mount -t 9p -o trans=xen,version=9p2000.L TAG /mnt`.',
  words: { option: 'p9' as const, parse: (specification: string) => parseFolder(specification), format: formatFolder },
  saved: SAVED,
  resolve: (description) => resolveFolder(description as string | FolderDescription),
  checkTogether: (folders) => {
    const tags = folders.map(({ tag }) => tag)
    const twice = tags.find((tag, at) => tags.indexOf(tag) !== at)
    if (twice !== undefined) throw new XenError('INVALID_CONFIG', `there are two folders with the tag ${twice}`, { details: { key: 'folders', tag: twice } })
  },
  label: ({ tag }) => `folder ${tag}`,
  hostNames: ({ path }) => ({ files: path }),
  settle: (config, { isFree, hasName }) => {
    const { tag } = config
    if (hasName(tag)) throw new XenError('DEVICE_EXISTS', `the domain has a folder with the tag ${tag} already`, { details: { kind: NAME, tag } })
    let id = 0
    while (!isFree(id)) id += 1
    return { id, config }
  },
  nameOf: ({ tag }) => tag,
  facts: ({ tag, path, securityModel }) => ({ tag, path, securityModel }),
  numberOf: Number,
  spelled: (tag) => tag,
  rows: ({ tag, path, securityModel }) => ({
    backendHead: [], backendMiddle: [],
    // What the back-end is about to offer is there from the start: Linux before 6.2 looks once, as soon as it sees the device.
    backendTail: [['path', path], ['security_model', securityModel], ['versions', '1'], ['max-rings', '8'], ['max-ring-page-order', '7']],
    frontend: [['tag', tag]],
  }),
  isOpened: true,
  leavesAnyway: false,
} satisfies DescribedDevice<FolderConfig>
