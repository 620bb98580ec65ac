/* Text without a C library: comparison, numbers, words, and a small printf (%s %c %d %u %x, each with l). */
#include "mini.h"
#include "text.h"

u64 length_of(const char *text)
{
    u64 n = 0;
    while (text[n])
        n++;
    return n;
}

int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

int starts_with(const char *text, const char *start)
{
    while (*start)
        if (*text++ != *start++)
            return 0;
    return 1;
}

/* Decimal; stops at the first character that is no digit. */
u64 number_of(const char *text)
{
    u64 n = 0;
    while (*text >= '0' && *text <= '9')
        n = n * 10 + (u64)(*text++ - '0');
    return n;
}

/* Cuts the next word off `*rest` and ends it; empty when there is none. */
char *word_of(char **rest)
{
    char *word = *rest;
    while (*word == ' ')
        word++;
    char *end = word;
    while (*end && *end != ' ')
        end++;
    *rest = end;
    if (*end)
        *rest = end + 1;
    *end = 0;
    return word;
}

void copy(void *to, const void *from, u64 count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

/* The compiler calls these two for structures of its own accord. */
void *memcpy(void *to, const void *from, u64 count)
{
    copy(to, from, count);
    return to;
}

void *memset(void *to, int value, u64 count)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return start;
}

static void put_number(void (*put)(void *, char), void *where, u64 value, u64 base)
{
    char digits[24];
    int n = 0;
    do
        digits[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    while (n)
        put(where, digits[--n]);
}

void format_to(void (*put)(void *, char), void *where, const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(where, *format);
            continue;
        }
        int wide = *++format == 'l';
        format += wide;
        if (*format == 's') {
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(where, *text);
        } else if (*format == 'c') {
            put(where, (char)va_arg(arguments, int));
        } else if (*format == 'd') {
            s64 value = wide ? va_arg(arguments, s64) : va_arg(arguments, int);
            if (value < 0)
                put(where, '-');
            put_number(put, where, value < 0 ? -(u64)value : (u64)value, 10);
        } else {
            u64 value = wide ? va_arg(arguments, u64) : va_arg(arguments, u32);
            put_number(put, where, value, *format == 'x' ? 16 : 10);
        }
    }
}

struct target {
    char *to;
    u64 used, size;
};

static void put_in_buffer(void *where, char c)
{
    struct target *target = where;
    if (target->used + 1 < target->size)
        target->to[target->used++] = c;
}

/* Writes at most `size` bytes, the zero at the end included; says how long the text is. */
int format(char *to, u64 size, const char *format, ...)
{
    struct target target = { to, 0, size };
    va_list arguments;
    va_start(arguments, format);
    format_to(put_in_buffer, &target, format, arguments);
    va_end(arguments);
    to[target.used] = 0;
    return (int)target.used;
}
