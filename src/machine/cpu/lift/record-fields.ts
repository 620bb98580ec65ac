/**
 * The fields of the record that is written next, by the names that layout/record.ts gives them in each shape. Names of one
 * place are one field: what is set under one stays until another is set.
 */
import { SHAPES } from '../layout/record.ts'
import type { SmallField } from '../layout/record.ts'

/** The fields. */
export interface RecordFields extends Record<SmallField, number> {
  /** The four bytes behind the number, in the order of their places. */
  first: number
  second: number
  third: number
  fourth: number
  displacement: number
  immediate: number
}

const PLACES = ['first', 'second', 'third', 'fourth'] as const
/** Place of the first of them in a record. */
const FIRST = 2

interface Accessor {
  get: (this: RecordFields) => number
  set: (this: RecordFields, value: number) => void
}

/** One for each place, shared by its names. hot path: lifters set a handful for every newly met instruction. */
const ACCESSORS: Readonly<Record<(typeof PLACES)[number], Accessor>> = {
  first: { get() { return this.first }, set(value) { this.first = value } },
  second: { get() { return this.second }, set(value) { this.second = value } },
  third: { get() { return this.third }, set(value) { this.third = value } },
  fourth: { get() { return this.fourth }, set(value) { this.fourth = value } },
}

/** Makes the class: its names come from the table of shapes. */
function makeClass(): new () => RecordFields {
  class Fields {
    first = 0
    second = 0
    third = 0
    fourth = 0
    displacement = 0
    immediate = 0
  }
  for (const shape of Object.values(SHAPES)) {
    for (const [name, place] of Object.entries(shape)) {
      Object.defineProperty(Fields.prototype, name, ACCESSORS[PLACES[place - FIRST]!])
    }
  }
  // The names have just been defined.
  return Fields as new () => RecordFields
}

/** Fields that are all zero. */
export const RecordFields: new () => RecordFields = /* @__PURE__ */ makeClass()
