import { expect, test } from 'vitest'
import { WriteRate } from '../../../../src/xenstore/store/write-rate.ts'

test('a new domain starts with a burst of ten writes, lent by the reserve', () => {
  const rate = new WriteRate()
  const account = rate.open(0)
  expect(account.credit).toBe(10_000)
  for (let i = 0; i < 10; i += 1) rate.charge(account, 0)
  expect(rate.update(account, 0)).toBe(true)
  rate.charge(account, 0)
  expect(rate.update(account, 0)).toBe(false)
  expect(rate.wait(account)).toBe(5)
  expect(rate.update(account, 5)).toBe(true)
})

test('the sixth new domain in a row gets no loan, because the reserve is spent', () => {
  const rate = new WriteRate()
  const credits = Array.from({ length: 7 }, () => rate.open(0).credit)
  expect(credits).toEqual([10_000, 10_000, 10_000, 10_000, 10_000, 0, 0])
})

test('credit comes at 200 writes a second, shared among all domains', () => {
  const rate = new WriteRate()
  const accounts = [rate.open(0), rate.open(0)]
  for (const account of accounts) account.credit = 0
  rate.update(accounts[0]!, 50)
  expect(accounts[0]!.credit).toBe(5000)
})

test('nobody saves up more than ten writes; the rest goes to the reserve and helps others', () => {
  const rate = new WriteRate()
  const idle = rate.open(0)
  const busy = rate.open(0)
  rate.update(idle, 60_000)
  expect(idle.credit).toBe(10_000)
  expect(rate.save().reserve).toBe(1_000_000)
  busy.timestamp = 60_000
  let writes = 0
  while (rate.update(busy, 60_000)) {
    rate.charge(busy, 60_000)
    writes += 1
  }
  expect(writes).toBe(1011)
})

test('what a closed account has left goes back', () => {
  const rate = new WriteRate()
  const account = rate.open(0)
  rate.close(account)
  expect(rate.save()).toEqual({ reserve: 0, domains: 0 })
})
