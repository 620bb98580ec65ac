/**
 * Rows of the x87 opcodes D8 to DF. Row format: see table.ts.
 * Reference: Intel SDM volume 2, appendix A, tables.
 */

/** Rows of the map without escape. */
export const X87_ROWS = `
d9/5m fldcw Mw
d9/7m fnstcw Mw
db:e2 fnclex -
db:e3 fninit -
dd/7m fnstsw Mw
df:e0 fnstsw ax
`
