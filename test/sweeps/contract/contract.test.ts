/** What holds for guests of every kind: kinds x rows. docs/guest-kinds.md is the same table. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Cell, type ContractRow } from './cell.ts'
import { KINDS, type ContractKind } from './kinds.ts'
import { ROWS } from './rows/index.ts'
import { TABLE_FILE, formatTable } from './table.ts'

async function fill(row: ContractRow, kind: ContractKind): Promise<void> {
  const cell = new Cell(kind)
  try {
    await (row.exceptions?.[kind.name]?.shown ?? row.run)(cell)
  } finally {
    await cell.end()
  }
}

describe.each(KINDS.map((kind) => [kind.name, kind] as const))('a %s guest', (_, kind) => {
  describe.skipIf(kind.missing !== undefined)(kind.missing === undefined ? 'as every guest' : `SKIPPED: ${kind.missing}`, { timeout: 120_000 }, () => {
    test.each(ROWS.map((row) => [row.name, row] as const))('%s', (_name, row) => fill(row, kind))
  })
})

test('the table in the documents is the one that runs', () => {
  expect(readFileSync(TABLE_FILE, 'utf8')).toBe(formatTable())
})
