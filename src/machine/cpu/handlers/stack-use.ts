/** Which handlers work on the stack: their accesses that are not canonical are told as stack faults. */

/** Their names. */
export const STACK_USERS: readonly string[] = [
  'popf', 'pop-segment.16', 'pop-segment.32', 'pop-segment.64', 'pusha', 'popa', 'enter.16', 'enter.32', 'enter.64',
  'iret', 'retf', 'far-call.16', 'far-call.32', 'far-call.64', 'short-call', 'short-ret',
]
