/**
 * Description files, disk specifications and rates are read as by Debian's libxlutil, which is asked about the same texts:
 * a table of cases, and random texts from seeds. What ours takes beyond xl (Python's `%`, capital letters, signs, carriage
 * returns) is marked, and compared only where xl takes it too.
 */
import { describe, expect, test } from 'vitest'
import { scanDisk, type ScannedDisk } from '../../../../src/toolstack/device-kinds/disk/disk-scanner.ts'
import { parseRate } from '../../../../src/toolstack/device-kinds/nic/nic-specification.ts'
import { parseNumber } from '../../../../src/toolstack/config/number.ts'
import { parseConfig } from '../../../../src/toolstack/config/parser.ts'
import { plainValue, type PlainValue } from '../../../../src/toolstack/config/syntax.ts'
import { SeededRandom, XenError } from '../../../../src/util/index.ts'
import { askXlu, whyNoXlu, type XluAnswer, type XluValue } from '../../../support/xlu.ts'

const missing = whyNoXlu()
const KEYS = ['a', 'b', 'c', 'x.y', 'z_1']
/** Random texts of each kind; the long share is what CI runs. */
const CASES = process.env['FUZZ'] === 'long' ? 6_000 : 500

const hex = (text: string): string => Buffer.from(text, 'utf8').toString('hex')
const unhex = (digits: string): string => Buffer.from(digits, 'hex').toString('utf8')
const inHex = (value: PlainValue): XluValue => (typeof value === 'string' ? hex(value) : value.map(inHex))

/** What our parser says, in the library's form. */
function ours(text: string): { error?: XenError; keys: Record<string, { value?: XluValue; number?: number | undefined }> } {
  try {
    const { assignments } = parseConfig(text)
    return {
      keys: Object.fromEntries(KEYS.map((key) => {
        const found = assignments.get(key)
        if (found === undefined) return [key, {}]
        const number = found.value.kind === 'list' || found.appended ? undefined : parseNumber(found.value.value)
        return [key, { value: inHex(plainValue(found.value)), ...(number === undefined ? {} : { number }) }]
      })),
    }
  } catch (error) {
    if (!XenError.is(error, 'INVALID_CONFIG')) throw error
    return { error, keys: {} }
  }
}

const theirKeys = (answer: XluAnswer) => Object.fromEntries(Object.entries(answer.keys ?? {}).map(([key, { number, ...rest }]) =>
  [key, number === undefined ? rest : { ...rest, number: Number(number) }]))

/** Compares one description; `extended` texts may be refused by xl alone. */
function compare(text: string, answer: XluAnswer, extended: boolean): void {
  const mine = ours(text)
  const place = { text, report: unhex(answer.report), ours: mine.error?.message }
  if (answer.error === 0) expect({ ...place, keys: mine.keys }).toEqual({ ...place, ours: undefined, keys: theirKeys(answer) })
  else if (!extended) expect({ ...place, refused: mine.error !== undefined }).toEqual({ ...place, refused: true })
}

/** The line that libxlutil complains about first; it counts one line too few where it stands at the line's end. */
function reportedLine(answer: XluAnswer): number | undefined {
  const [, line, near] = /^text:(\d+): config parsing error near ([^\n]*)/.exec(unhex(answer.report)) ?? []
  return line === undefined ? undefined : Number(line) + (near!.startsWith('<newline>') ? 1 : 0)
}

describe.skipIf(missing !== undefined)(`libxlutil${missing ?? ''}`, { timeout: 120_000 }, () => {
  test('agrees about descriptions: the table', () => {
    const table = [
      'a = "x"', "a='x'", 'a=""', 'a="it said \\"hi\\""', "a='don\\'t'", 'a="\\\\"', 'a="\\a\\b\\f\\n\\r\\t\\v"', 'a="\\q"', 'a="\\x41"',
      'a="\\x4142"', 'a="\\101"', 'a="\\1"', 'a="\\12"', 'a="\\0123456"', 'a="\\8"', 'a="\\0 12"', 'a="\\0+12"', 'a="\\7\\7"', 'a="x\\', 'a="x\\"',
      'a="x\ny"', 'a="x\\\ny"', 'a="é\u4e2d"', 'é=1', 'a=é', 'a="x\0y"', 'a=\0', '# \0\na=1', 'a="\r"', 'a="\t"',
      'a=1', 'a=0x1f', 'a=017', 'a=089', 'a=12ab', 'a=0x', 'a=9223372036854775807', 'a=9223372036854775808', 'a="-1"', 'a=" 12"', 'a="12 "', 'a="+0x10"',
      'a=99999999999999999999', 'a=1e5', 'a=1xf', 'a="0b1"', 'a="08"', 'a="0x-1"', 'a=""', 'a="1_0"',
      'a=[]', 'a=[1]', 'a=[1,]', 'a=[,]', 'a=[1,,2]', 'a=[1 2]', 'a=[1,2', 'a=[[1],["2",[3]],]', 'a=[\n1\n,\n\n2\n]', 'a=[ # c\n 1 # d\n , # e\n]',
      'a=[1;2]', 'a=[b]', 'a=]', 'a=[1]]', '[1]',
      'a=1;b=2', 'a=1;;b=2;', ';', ';a=1', 'a=1 b=2', 'a=1\nb=2', '\n\n\na=1\n\n', 'a', 'a=', '=1', 'a==1', 'a+1', 'a + = 1', 'a\n=1', 'a=\n1',
      'a=1\na=2', 'a=[1]\na="x"', 'a+=1', 'a+="x"', 'a=1\na+=2', 'a="x"\na+="y"', 'a="x"\na+=1', 'a=[1]\na+=[2]', 'a=[1]\na+="x"', 'a="x"\na+=[1]', 'a+=[]\na+=[1,[2]]',
      'a=1\na+=[2]\nb=3', 'x.y=1\nz_1=2', 'a.b=1', '9a=1', '.a=1', 'a-b=1', '# c\na=1\n', 'a=1 # c\n', 'a="# x"', 'a=1#c\nb=2\n', '',
      'def f():\n', 'import os\n', 'a=1.5', 'a=(1)', 'a="x":"y"', 'a=1,2', 'a="x" "y"', 'a="x"\'y\'', 'a="\\"\n',
      '__proto__=1', 'constructor=1\ntoString=2',
    ]
    const answers = askXlu(KEYS, table.map((text) => ({ kind: 'c', text })))
    expect(answers).toHaveLength(table.length)
    table.forEach((text, i) => compare(text, answers[i]!, /^__proto__|toString/.test(text)))
    expect(answers.filter(({ error }) => error === 0).length).toBeGreaterThan(50)
    expect(answers.filter(({ error }) => error !== 0).length).toBeGreaterThan(40)
  })

  test('agrees about descriptions: random texts', () => {
    const random = new SeededRandom(4)
    const texts = Array.from({ length: CASES }, (_, i) => randomDescription(random, i % 4 === 3))
    const answers = askXlu(KEYS, texts.map((text) => ({ kind: 'c', text })))
    texts.forEach((text, i) => compare(text, answers[i]!, i % 4 === 3))
    expect(answers.filter(({ error }) => error === 0).length).toBeGreaterThan(CASES / 5)
    expect(answers.filter(({ error }) => error !== 0).length).toBeGreaterThan(CASES / 5)
  })

  test.each([
    'a=1\nb=\n', 'a=1\nb="x\n', 'a=1\nb=1.5\nc=2\n', 'a=1\n\nb=[1,,2]\n', 'a=1\nb="\\q"\n', '\n\n=1\n', 'a=1\nb=2 c=3\n', 'a=1\na+=[1]\n',
  ])('complains about the same line of %j', (text) => {
    const [answer] = askXlu(KEYS, [{ kind: 'c', text }])
    expect([text, ours(text).error?.details['line']]).toEqual([text, reportedLine(answer!)])
  })

  test('agrees about disks', () => {
    const random = new SeededRandom(5)
    const texts = [...DISKS, ...Array.from({ length: CASES }, () => randomDisk(random))]
    const answers = askXlu(KEYS, texts.map((text) => ({ kind: 'd', text })))
    texts.forEach((text, i) => {
      const place = { text, report: unhex(answers[i]!.report) }
      expect({ ...place, ...ourDisk(text) }).toEqual({ ...place, ...theirDisk(answers[i]!) })
    })
    expect(answers.filter(({ error }) => error === 0).length).toBeGreaterThan(CASES / 12)
  })

  test('agrees about rates', () => {
    const random = new SeededRandom(6)
    const texts = [...RATES, ...Array.from({ length: CASES }, () => randomRate(random))]
    const answers = askXlu(KEYS, texts.map((text) => ({ kind: 'r', text })))
    texts.forEach((text, i) => {
      const { error, bytes, interval } = answers[i]!
      const rate = parseRate(text)
      const mine = rate && { bytesPerInterval: rate.bytesPerInterval, intervalMicroseconds: rate.intervalMicroseconds }
      const theirs = error === 0 ? { bytesPerInterval: Number(bytes), intervalMicroseconds: interval } : undefined
      expect([text, mine]).toEqual([text, theirs])
    })
    expect(answers.filter(({ error }) => error === 0).length).toBeGreaterThan(CASES / 8)
  })
})

const pick = <T>(random: SeededRandom, items: readonly T[]): T => items[random.next() % items.length]!

/** Pieces of descriptions; those of the second list only ours takes, or reads in another way. */
const PIECES = [
  'a', 'b', 'c', 'x.y', 'z_1', '=', '=', '=', '+=', '[', ']', ',', ',', ';', '\n', '\n', ' ', '\t', '"x"', "'y'", '"it\\"s"', '1', '0x1f', '017',
  '089', '12ab', '9223372036854775808', '"', "'", '"\\012"', '"\\n"', '"\\x"', '# c\n', '.', ':', '+', 'é', '"é"', '\0', '"a', '\\', '"\\', '@',
]
const EXTENSIONS = ['A', '_b', '-1', '%', '(', ')', '\r', '\f', '# c', 'Z = 1\n']

function randomAtom(random: SeededRandom): string {
  if (random.next() % 3 === 0) return pick(random, ['0', '7', '12', '0x10', '0xfg', '010', '99', '9223372036854775807', '18446744073709551616'])
  const quote = pick(random, ['"', "'"])
  const length = random.next() % 6
  const parts = ['a', ' ', '#', ';', '=', '[', ',', '\\\\', '\\n', '\\t', '\\"', "\\'", '\\012', '\\777', '\\7', '\\x1', '\\z', 'é', quote, '%']
  return quote + Array.from({ length }, () => pick(random, random.next() % 12 === 0 ? parts : parts.slice(0, 12))).join('') + quote
}

function randomValue(random: SeededRandom, depth: number): string {
  if (depth > 3 || random.next() % 3 !== 0) return randomAtom(random)
  const blank = (): string => pick(random, ['', ' ', '\n', ' # c\n'])
  const items = Array.from({ length: random.next() % 4 }, () => `${blank()}${randomValue(random, depth + 1)}${blank()}`)
  return `[${items.join(',')}${items.length > 0 ? pick(random, ['', ',', ',\n']) : ''}]`
}

function randomDescription(random: SeededRandom, extended: boolean): string {
  const pieces = extended ? [...PIECES, ...EXTENSIONS] : PIECES
  const lines = Array.from({ length: 1 + (random.next() % 5) }, () => {
    if (random.next() % 8 === 0) return Array.from({ length: random.next() % 8 }, () => pick(random, pieces)).join('')
    return `${pick(random, KEYS)}${pick(random, ['=', ' = ', '+=', '= '])}${randomValue(random, 0)}`
  })
  // xl wants a line's end behind a last comment.
  return lines.map((line) => line + pick(random, ['\n', '\n', ';', ' # c\n'])).join('')
}

const DISKS = [
  '/x,raw,xvda,w', '/x,,xvda', '/x,raw,xvda', '/x,raw', '/x', '', ' ', ',', ',,', ',,,', ',,xvda', '/x, raw ,xvda', ' /x,raw,xvda', '/x,raw,xvda,',
  '/x,raw,xvda,w,', '/x,raw,xvda,w,,', '/x,raw,xvda,ro', '/x,raw,xvda,q', '/x,weird,xvda', '/x,empty,hdc,cdrom', '/x.iso,raw,hdc,w,cdrom',
  '/x.iso,raw,hdc,r,devtype=cdrom,devtype=disk', 'cdrom,/x.iso,raw,hdc,rw', '/x,raw,hdc:cdrom,r', '/x,raw,hdc:tape,r',
  'vdev=xvda,target=/a,b=c', 'format=qcow2,vdev=xvda,access=ro,target=/x', 'vdev=xvda,format=raw,target=rbd:pool/image:id=admin',
  'rbd:pool/image,raw,xvda,w', 'rbd:/pool,raw,xvda,w', 'nbd:host:10809,xvda,w', 'a:b:c,raw,xvda', 'fd:1,raw,xvda', 'http://x/y,raw,xvda',
  'file:/x,xvda,w', 'phy:vg/root,hda1,r', 'phy:/dev/x,ioemu:hda,w', 'phy:/dev/x,ioemu:hda:cdrom,r', 'file:/x,hdc:cdrom,r', ',hdc:cdrom,r', ',hdc:disk,w',
  'tap:aio:/x,xvda,w', 'tap2:qcow2:/x,xvda,w', 'tapdisk:vhd:/x,xvda,w', 'iscsi:iqn.2005:disk,xvda,w', 'drbd:res,xvda,w', 'enbd:x,xvda,w', 'raw:/x,xvda,w',
  'raw:qcow2:/x,xvda,w', 'qed:/x,xvda,w', 'zip:/x,xvda,w', 'phy:,xvda,w', 'x:', 'x:,', '/x,raw,xvda,w,script=a', '/x,raw,xvda,script=a,script=b',
  'script=,script=b,/x,raw,xvda', '/x,raw,xvda,vdev=xvdb', '/x,raw,vdev=xvdb', '/x,raw,xvda,backend=drv', '/x,raw,xvda,backendtype=phy,backendtype=phy',
  '/x,raw,xvda,backendtype=phy,backendtype=tap', '/x,raw,xvda,backendtype=', '/x,raw,xvda,specification=virtio', '/x,raw,xvda,specification=x',
  '/x,raw,xvda,discard,no-discard', '/x,raw,xvda,direct-io-safe', '/x,raw,xvda,colo,colo-host=h,colo-port=1,colo-export=e', '/x,raw,xvda,colo-port=0',
  '/x,raw,xvda,colo-host=a,colo-host=b', '/x,raw,xvda,foo=bar', '/x,raw,xvda,foo=', '/x,raw,xvda,foo', '/x,raw,xvda,r,foo', '/x=y,raw,xvda',
  'target=/x', 'target=/x,vdev=xvda', 'target=,vdev=xvda', 'vdev=xvda,target=/x,', 'vdev=xvda', 'vdev=hdc,cdrom', 'vdev=,target=/x', 'format=raw,format=qcow2,vdev=xvda,target=/x',
  '/x,raw,xvda,access=r,w', '/x,raw,xvda,access=', '/x\n,raw,xvda', '\n/x,raw,\txvda', '/x,raw,xvda,w\n', '/é,raw,xvda', 'cdromx,raw,xvda', 'cdrom=1,raw,xvda',
  '/x,raw,xvda,__proto__=1', '/x,raw,xvda,constructor=1',
]
/** Without `trusted` and `untrusted`: documented and in the scanner's source, but not in the one that 4.17 was built with. */
const DISK_PIECES = [
  '/x', 'raw', 'qcow2', 'xvda', 'hdc', 'w', 'r', 'ro', ',', ',', ',', ',', '', ' ', '\n', ':', '=', 'cdrom', 'devtype=cdrom', 'devtype=disk', 'format=raw', 'format=',
  'vdev=xvda', 'access=r', 'backend=d', 'backendtype=phy', 'script=s', 'target=/y', 'discard', 'no-discard', 'direct-io-safe',
  'phy:', 'file:', 'tap:', 'ioemu:', 'raw:', 'nbd:', 'rbd:', 'zip:', 'hdc:cdrom', 'empty', 'é', 'colo', 'foo=bar',
]

function randomDisk(random: SeededRandom): string {
  const parts = Array.from({ length: 1 + (random.next() % 6) }, () =>
    random.next() % 5 === 0 ? pick(random, DISK_PIECES) + pick(random, DISK_PIECES) : pick(random, DISK_PIECES))
  return (random.next() % 2 === 0 ? ['/x', 'raw', 'xvda', ...parts] : parts).join(pick(random, [',', ',', ', ', '']))
}

function theirDisk(answer: XluAnswer): object {
  if (answer.error !== 0) return { refused: true }
  const text = (name: string): string | undefined => (answer[name] === null ? undefined : unhex(String(answer[name])))
  const word = (name: string): string | undefined => (answer[name] === 'unknown' ? undefined : String(answer[name]))
  const flag = (name: string): boolean | undefined => (answer[name] === '<default>' ? undefined : answer[name] === 'True')
  return {
    target: text('target'), vdev: text('vdev'), backend: text('backend'), script: text('script'), format: word('format'),
    backendType: word('backendType'), specification: word('specification'), access: answer['readwrite'] === 1 ? 'w' : 'r',
    cdrom: answer['cdrom'] === 1, directIoSafe: answer['directIoSafe'] === 1, discard: flag('discard'), trusted: flag('trusted'),
  }
}

/** Ours, with what libxlutil itself fills in at the end. */
function ourDisk(text: string): object {
  let disk: ScannedDisk
  try {
    disk = scanDisk(text, (message) => { throw new XenError('INVALID_CONFIG', message) })
  } catch (error) {
    if (!XenError.is(error, 'INVALID_CONFIG')) throw error
    return { refused: true }
  }
  if (disk.vdev === undefined || (disk.target === undefined && !disk.cdrom)) return { refused: true }
  // A fourth value of the old form is 2005's way to name a back-end; libxlutil refuses it.
  if (disk.fourthValue !== undefined) return { refused: true }
  const { target, vdev, backend, script, format, backendType, specification, access, cdrom, directIoSafe, discard, trusted } = disk
  return {
    target, vdev, backend, script, backendType, specification, cdrom, directIoSafe, discard, trusted,
    format: cdrom && (target ?? '') === '' ? 'empty' : (format ?? 'raw'),
    access: cdrom ? 'r' : access,
  }
}

const RATES = [
  '10Mb/s', '1MB/s@20ms', '250KB/s', '2GB/s', '1Gb/s@1s', '100b/s', '7b/s', '8b/s', '1B/s', '0b/s', '', '@', '@20ms', '1MB/s@', '1MB/s@20', '1MB/s@20m', '1MB/s@20us',
  '1MB/s@20u', '1MB/s@20s', '1MB/s@0', '1MB/s@5000s', '1MB/s@4294s', '1MB/s@4295s', '4294967295B/s', '4294967296B/s', '4294967295GB/s', '4294967295GB/s@4294s', '010Mb/s',
  '08Mb/s', '0129b/s', '019Kb/s', '10kb/s', '10mb/s', '10 Mb/s', '10Mb', '-1b/s', '1MB/s@1m@2', '1MB/s@010ms', '1MB/s@08ms', '18446744073709551616b/s', 'fast', '1.5MB/s',
]

function randomRate(random: SeededRandom): string {
  const number = (): string => String(random.next() % pick(random, [10, 1000, 2 ** 32])).padStart(random.next() % 8 === 0 ? 6 : 0, '0')
  const unit = pick(random, ['', 'K', 'M', 'G', 'k']) + pick(random, ['b', 'B']) + pick(random, ['/s', '/s', '/s', ''])
  return `${number()}${unit}${pick(random, ['', '@'])}${random.next() % 2 === 0 ? `@${number()}${pick(random, ['', 's', 'ms', 'us', 'm', 'u'])}` : ''}`
}
