/** Grants of console and XenStore in every domain. Reference: public/grant_table.h, GNTTAB_RESERVED_*. */
export const RESERVED_GRANT = { console: 0, store: 1 } as const
