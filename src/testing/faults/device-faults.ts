/** Faults of disks, folders, screens and networks. */
import type { FileErrorName, InputFacts } from '../../drivers/index.ts'
import { below, oneOf, text } from '../../util/index.ts'
import { atSeam, type DiskFacts, type FaultContext, type FaultParameter, type FaultRow, type FolderFacts, type FrameOpportunity } from './fault-row.ts'
import type { FaultParameters } from './fault-spec.ts'
import { lengthOfTime, wholeNumber } from './parameters.ts'

const SECTOR = 512

const request: FaultParameter = { name: 'request', text: 'read, write, flush, discard, or any', check: oneOf('read', 'write', 'flush', 'discard', 'any'), otherwise: 'any' }
const disk: FaultParameter = { name: 'disk', text: 'the disk, such as xvda; any unless given', check: text, isOptional: true }
const bridge: FaultParameter = { name: 'bridge', text: 'the bridge; any unless given', check: text, isOptional: true }
const outcome: FaultParameter = { name: 'reports', text: 'what the guest is told: error or success', check: oneOf('error', 'success'), otherwise: 'error' }

const isOn = ({ disk: name }: DiskFacts, parameters: FaultParameters): boolean => parameters['disk'] === undefined || parameters['disk'] === name
const isOf = ({ kind }: DiskFacts, parameters: FaultParameters): boolean => parameters['request'] === 'any' || parameters['request'] === kind
const place = ({ kind, disk: name, offset, length }: DiskFacts): string => `${kind} of ${name} at sector ${offset / SECTOR}${length === 0 ? '' : `, ${length} bytes`}`
const isBridge = (facts: FrameOpportunity, parameters: FaultParameters): boolean => parameters['bridge'] === undefined || parameters['bridge'] === facts.bridge
const frame = ({ source, destination, length }: FrameOpportunity): string => `a frame of ${length} bytes from ${source} to ${destination}`

/** When a line of this rate is through with a frame, in nanoseconds from now; it is kept busy until then. */
function transmission({ length }: FrameOpportunity, bytesPerSecond: number, { memory, now }: FaultContext): number {
  const begins = Math.max(now, memory.get('free') ?? 0)
  const ends = begins + Math.ceil((length / bytesPerSecond) * 1e9)
  memory.set('free', ends)
  return ends - now
}

/** The rows of disks. */
const DISKS: readonly FaultRow[] = [
  atSeam('disk', {
    name: 'disk-error', family: 'Disks', where: 'a request to a disk: it is not done, and fails', parameters: [request, disk],
    peer: 'the guest gets BLKIF_RSP_ERROR for this request, tells its file system or program, and goes on', accepts: (facts, parameters) => isOn(facts, parameters) && isOf(facts, parameters),
    act: (facts) => ({ effect: { error: 'an error of the medium' }, text: `${place(facts)} failed` }),
  }),
  atSeam('disk', {
    name: 'disk-full', family: 'Disks', where: 'a write to a disk: there is no room behind it (ENOSPC)', parameters: [disk],
    peer: 'as with an error: the write is known not to have been done', accepts: (facts, parameters) => isOn(facts, parameters) && facts.kind === 'write',
    act: (facts) => ({ effect: { error: 'no space is left', arrives: 0 }, text: `${place(facts)} found no room` }),
  }),
  atSeam('disk', {
    name: 'disk-torn-write', family: 'Disks', where: 'a write of more than one sector: only its first half arrives', parameters: [disk, outcome],
    peer: 'writes again where it is told; where it is not, a journal or a checksum finds it', accepts: (facts, parameters) => isOn(facts, parameters) && facts.kind === 'write' && facts.length > SECTOR,
    act: (facts, { reports }) => ({
      effect: { arrives: Math.floor(facts.length / 2 / SECTOR) * SECTOR, ...(reports === 'error' ? { error: 'the write was torn' } : {}) }, text: `${place(facts)} was torn, and told as ${reports}`,
    }),
  }),
  atSeam('disk', {
    name: 'disk-lost-write', family: 'Disks', where: 'a write to a disk: it is told as done, and nothing arrives', parameters: [disk],
    peer: 'cannot know; what reads it back and compares, such as a checksum, finds it', accepts: (facts, parameters) => isOn(facts, parameters) && facts.kind === 'write',
    act: (facts) => ({ effect: { arrives: 0 }, text: `${place(facts)} was lost` }),
  }),
  atSeam('disk', {
    name: 'disk-flip', family: 'Disks', where: 'a read of a disk: one bit of it is another one', parameters: [disk],
    peer: 'cannot know; a checksum finds it', accepts: (facts, parameters) => isOn(facts, parameters) && facts.kind === 'read',
    act: (facts, _parameters, { random }) => {
      const flip = below(random, facts.length * 8)
      return { effect: { flip }, text: `${place(facts)} has bit ${flip} flipped` }
    },
  }),
  atSeam('disk', {
    name: 'disk-latency', family: 'Disks', where: 'a request to a disk: its answer comes later', parameters: [request, disk, lengthOfTime('delay', 'how much later', 1e7)],
    peer: 'waits; requests behind it are answered before, if they can be', accepts: (facts, parameters) => isOn(facts, parameters) && isOf(facts, parameters),
    act: (facts, { delay }) => ({ effect: { delay: Number(delay) }, text: `${place(facts)} was answered ${delay} ns later` }),
  }),
]

const folderRequest: FaultParameter = { name: 'request', text: 'read, write (also fsync), change (make, rename, remove, attributes), look (walk, list, attributes), or any', check: oneOf('read', 'write', 'change', 'look', 'any'), otherwise: 'any' }
const folder: FaultParameter = { name: 'folder', text: 'the folder, by its tag; any unless given', check: text, isOptional: true }
const isOfFolder = (facts: FolderFacts, parameters: FaultParameters): boolean =>
  (parameters['folder'] === undefined || parameters['folder'] === facts.folder) && (parameters['request'] === 'any' || parameters['request'] === facts.kind)

/** The rows of folders. */
const FOLDERS: readonly FaultRow[] = [
  atSeam('folder', {
    name: 'folder-error', family: 'Folders', where: 'a message about a folder: it is not done, and answered with an error number',
    parameters: [folderRequest, folder, { name: 'error', text: 'EIO, ENOSPC, EACCES, EROFS, ESTALE or EDQUOT', check: oneOf('EIO', 'ENOSPC', 'EACCES', 'EROFS', 'ESTALE', 'EDQUOT'), otherwise: 'EIO' }],
    peer: 'its program is told the number, and it goes on', accepts: isOfFolder,
    // The check has let no other name in.
    act: ({ folder: tag, kind }, { error }) => ({ effect: { errno: error as FileErrorName }, text: `${kind} of ${tag} failed with ${error}` }),
  }),
  atSeam('folder', {
    name: 'folder-latency', family: 'Folders', where: 'a message about a folder: its answer comes later, and those behind it wait', parameters: [folderRequest, folder, lengthOfTime('delay', 'how much later', 1e7)],
    peer: 'waits', accepts: isOfFolder, act: ({ folder: tag, kind }, { delay }) => ({ effect: { delay: Number(delay) }, text: `${kind} of ${tag} was answered ${delay} ns later` }),
  }),
]

const inputKind: FaultParameter = { name: 'input', text: 'key (also a button), pointer, or any', check: oneOf('key', 'pointer', 'any'), otherwise: 'any' }
const isOfInput = ({ kind }: InputFacts, parameters: FaultParameters): boolean => parameters['input'] === 'any' || parameters['input'] === kind

/** The rows of screens. */
const SCREENS: readonly FaultRow[] = [
  atSeam('keyboard', {
    name: 'input-loss', family: 'Screens', where: 'a key, a button or a move of the pointer: it never comes to the guest', parameters: [inputKind],
    peer: 'cannot know; a key whose release is lost stays pressed until it is struck again', accepts: isOfInput,
    act: ({ kind, keyboard }) => ({ effect: { isLost: true }, text: `a ${kind} of keyboard ${keyboard} was lost` }),
  }),
  atSeam('keyboard', {
    name: 'input-latency', family: 'Screens', where: 'a key, a button or a move of the pointer: it comes later, and those behind it wait', parameters: [inputKind, lengthOfTime('delay', 'how much later', 1e7)],
    peer: 'takes them in their order', accepts: isOfInput, act: ({ kind, keyboard }, { delay }) => ({ effect: { delay: Number(delay) }, text: `a ${kind} of keyboard ${keyboard} came ${delay} ns later` }),
  }),
  atSeam('framebuffer', {
    name: 'screen-update-loss', family: 'Screens', where: 'an update of a framebuffer: whoever looks is not told of it', parameters: [],
    peer: 'goes on; its picture is right, and viewers have it with the next update of the same place', act: ({ framebuffer }) => ({ effect: true, text: `an update of framebuffer ${framebuffer} was overlooked` }),
  }),
]

/** The rows of networks. */
const NETWORKS: readonly FaultRow[] = [
  atSeam('net', {
    name: 'net-delay', family: 'Networks', where: 'a frame that enters a bridge: it comes later', parameters: [bridge, lengthOfTime('delay', 'how much later', 1e7)],
    peer: 'waits, and takes frames in the order in which they come', accepts: isBridge, act: (facts, { delay }) => ({ effect: { delays: [Number(delay)] }, text: `${frame(facts)} came ${delay} ns later` }),
  }),
  atSeam('net', {
    name: 'net-loss', family: 'Networks', where: 'a frame that enters a bridge: it goes nowhere', parameters: [bridge],
    peer: 'sends again what it wants to be sure of', accepts: isBridge, act: (facts) => ({ effect: { delays: [] }, text: `${frame(facts)} was lost` }),
  }),
  atSeam('net', {
    name: 'net-duplicate', family: 'Networks', where: 'a frame that enters a bridge: it comes twice', parameters: [bridge],
    peer: 'knows by its protocol that it has it already', accepts: isBridge, act: (facts) => ({ effect: { delays: [0, 0] }, text: `${frame(facts)} came twice` }),
  }),
  atSeam('net', {
    name: 'net-corrupt', family: 'Networks', where: 'a frame that enters a bridge: one bit behind its Ethernet header is another one', parameters: [bridge],
    peer: 'drops it by its checksum', accepts: (facts, parameters) => isBridge(facts, parameters) && facts.length > 14,
    act: (facts, _parameters, { random }) => {
      const flip = 14 * 8 + below(random, (facts.length - 14) * 8)
      return { effect: { delays: [0], flip }, text: `${frame(facts)} has bit ${flip} flipped` }
    },
  }),
  atSeam('net', {
    name: 'net-reorder', family: 'Networks', where: 'a frame that enters a bridge: those behind it overtake it', parameters: [bridge, lengthOfTime('window', 'within which they do', 1e6)],
    peer: 'puts in order what has an order', accepts: isBridge, act: (facts, { window }) => ({ effect: { delays: [Number(window)] }, text: `${frame(facts)} was overtaken` }),
  }),
  atSeam('net', {
    name: 'net-rate', family: 'Networks', where: 'frames that enter a bridge: they come as fast as a line of this rate lets them', parameters: [bridge, wholeNumber('bytesPerSecond', 'the rate', { least: 1000, most: 1e11, otherwise: 125_000 })],
    peer: 'sends as fast as it is acknowledged', accepts: isBridge,
    act: (facts, { bytesPerSecond }, context) => ({ effect: { delays: [transmission(facts, Number(bytesPerSecond), context)] }, text: `${frame(facts)} had to wait for the line` }),
  }),
  atSeam('net', {
    name: 'net-partition', family: 'Networks', where: 'frames from or to a domain, or all of a bridge: they go nowhere while it lasts', parameters: [bridge],
    peer: 'gives up by a time-out of its own, and goes on when it is over', accepts: isBridge, act: (facts) => ({ effect: { delays: [] }, text: `${frame(facts)} met a partition` }),
  }),
]

/** The rows. */
export const DEVICE_FAULTS: readonly FaultRow[] = [...DISKS, ...FOLDERS, ...SCREENS, ...NETWORKS]
