/** Which of its two languages a boot loader's file is written in. */

/** Words that begin a line in the one kind only. */
const SCRIPT = /^\s*(?:menuentry|submenu|function|set|insmod|if)\b/m
const LINES = /^\s*title\b/m

/** True for a script of GRUB 2 (grub.cfg); one with a `title` is GRUB legacy's (grub.conf). */
export const isScript = (text: string): boolean => SCRIPT.test(text) && !LINES.test(text)
