/**
 * The limit on writes per second that keeps one domain from making everybody else's transactions conflict for ever.
 * A write outside a transaction costs one unit while any transaction is open, and a commit costs one while another is;
 * a domain with negative credit is not served until time has given it back. Credit is shared among all domains,
 * with a reserve that collects what nobody uses.
 *
 * Reference: tools/xenstored/domain.c, section "Write rate limiting". Units are thousandths of a write.
 */

const WRITE_COST = 1000
/** Writes per second of all domains together. */
const RATE = 200_000
/** Most that one domain can save up. */
const DOMAIN_BURST = 10_000
/** Most that the reserve holds. */
const RESERVE_MAX = 1_000_000
/** How far new domains may overdraw the reserve. */
const NEW_DOMAINS_FLOOR = -50_000
/** Longest time that is credited at once, in milliseconds. */
const LONGEST = 1e9

/** One domain's account. */
export interface WriteCredit {
  /** Thousandths of a write; negative: blocked. */
  credit: number
  /** Up to when time has been credited, in milliseconds. */
  timestamp: number
}

/** The accounts of all domains and the reserve. */
export class WriteRate {
  private reserve = 0
  private domains = 0

  /** How many domains share the credit. */
  get sharers(): number {
    return this.domains
  }

  /** Opens an account, with a loan from the reserve. */
  open(now: number): WriteCredit {
    this.domains += 1
    const loan = Math.max(0, Math.min(this.reserve - NEW_DOMAINS_FLOOR, DOMAIN_BURST))
    this.reserve -= loan
    return { credit: loan, timestamp: now }
  }

  /** Closes an account; what is left goes back. */
  close(account: WriteCredit): void {
    this.domains -= 1
    this.reserve += Math.max(0, Math.min(account.credit, DOMAIN_BURST - this.reserve))
  }

  /** Credits the time since the last call; true when the domain may write. */
  update(account: WriteCredit, now: number): boolean {
    const elapsed = Math.min(now - account.timestamp, LONGEST)
    account.timestamp = now
    account.credit += Math.floor((elapsed * RATE) / (Math.max(1, this.domains) * 1000))
    const help = Math.max(0, Math.min(this.reserve, -account.credit))
    account.credit += help
    this.reserve -= help
    const surplus = Math.max(0, account.credit - DOMAIN_BURST)
    account.credit -= surplus
    this.reserve += Math.max(0, Math.min(surplus, RESERVE_MAX - this.reserve))
    return account.credit >= 0
  }

  /** Charges one write. */
  charge(account: WriteCredit, now: number): void {
    this.update(account, now)
    account.credit -= WRITE_COST
  }

  /** Milliseconds until a blocked domain may write again. */
  wait(account: WriteCredit): number {
    return account.credit >= 0 ? 0 : Math.ceil((-account.credit * Math.max(1, this.domains) * 1000) / RATE)
  }

  /** The reserve, as plain data. */
  save(): { readonly reserve: number; readonly domains: number } {
    return { reserve: this.reserve, domains: this.domains }
  }

  /** Takes a saved reserve over. */
  load(saved: { readonly reserve: number; readonly domains: number }): void {
    this.reserve = saved.reserve
    this.domains = saved.domains
  }
}
