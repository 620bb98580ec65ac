/* The formatter that the console and `format` share. */
#ifndef MINI_TEXT_H
#define MINI_TEXT_H

#include <stdarg.h>

void format_to(void (*put)(void *where, char c), void *where, const char *format, va_list arguments);

#endif
