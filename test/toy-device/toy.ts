/** A kind of device that the library does not know: the row of the table of kinds for the toy beside this file. */
import * as z from 'zod'
import type { DeviceConfiguration, SplitDevice } from '../../src/toolstack/index.ts'
import { XenError } from '../../src/util/index.ts'
import { ToyBackend } from './toy-backend.ts'

/** One toy. */
export interface ToyConfig extends DeviceConfiguration {
  readonly name: string
  /** What it multiplies by. */
  readonly factor: number
}

/** A toy as an object. */
type ToyDescription = Partial<ToyConfig> & Pick<ToyConfig, 'name'>

function parseToy(specification: string): ToyConfig {
  const [, name, factor = '2'] = /^name=([a-z]+)(?:,factor=([0-9]+))?$/.exec(specification) ?? []
  if (name === undefined) throw new XenError('INVALID_CONFIG', `toy \`${specification}\`: not name=NAME,factor=NUMBER`)
  return { name, factor: Number(factor), backend: '0' }
}

const schema = z.object({ name: z.string(), factor: z.int() })

/** Toys. */
export const TOY = {
  name: 'vtoy',
  title: 'toy',
  about: 'Toys, which multiply.',
  words: {
    option: 'toy', parse: (specification) => parseToy(specification), format: ({ name, factor }) => `name=${name},factor=${factor}`,
  },
  saved: {
    key: 'toys', schema,
    write: ({ name, factor }) => ({ name, factor }),
    read: (saved: z.infer<typeof schema>) => ({ ...saved, backend: '0' }),
  },
  resolve: (description) => (typeof description === 'string'
    ? parseToy(description) : { factor: 2, backend: '0', ...(description as ToyDescription) }),
  label: ({ name }) => `toy ${name}`,
  hostNames: ({ name }) => ({ files: `/toys/${name}` }),
  settle: (config, { isFree }) => {
    let id = 0
    while (!isFree(id)) id += 1
    return { id, config }
  },
  nameOf: ({ name }) => name,
  numberOf: Number,
  spelled: (text) => text,
  rows: ({ name, factor }) => ({
    backendHead: [], backendMiddle: [], backendTail: [['name', name], ['factor', String(factor)]], frontend: [],
  }),
  isOpened: false,
  leavesAnyway: false,
  serve: () => {
    const driver = new ToyBackend()
    return {
      driver,
      isServed: (domid, id) => driver.answers(domid, id) !== undefined,
      statistics: (domid, id) => {
        const answers = driver.answers(domid, id)
        return answers === undefined ? undefined : { answers }
      },
    }
  },
} satisfies SplitDevice<ToyConfig>
