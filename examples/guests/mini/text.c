/* Text without a C library: comparison, numbers, words, and a small printf (%s %c %d %u %x, numbers with l and ll). */
#include "mini.h"
#include "text.h"

word length_of(const char *text)
{
    word n = 0;
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
word number_of(const char *text)
{
    word n = 0;
    while (*text >= '0' && *text <= '9')
        n = n * 10 + (word)(*text++ - '0');
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

void copy(void *to, const void *from, word count)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

/* The compiler calls these two for structures of its own accord. */
void *memcpy(void *to, const void *from, word count)
{
    copy(to, from, count);
    return to;
}

void *memset(void *to, int value, word count)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return start;
}

/* A quotient without a C library: a 32-bit processor divides no more than 64 bits by 32, if the result has 32. */
u64 divide(u64 value, u32 by, u32 *rest)
{
#ifdef __x86_64__
    *rest = (u32)(value % by);
    return value / by;
#else
    u32 high = (u32)(value >> 32), low;
    u64 upper = high / by;
    __asm__("divl %4" : "=a"(low), "=d"(*rest) : "0"((u32)value), "1"(high % by), "r"(by));
    return upper << 32 | low;
#endif
}

static void put_number(void (*put)(void *, char), void *where, u64 value, u32 base)
{
    char digits[24];
    int n = 0;
    do {
        u32 digit;
        value = divide(value, base, &digit);
        digits[n++] = "0123456789abcdef"[digit];
    } while (value);
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
        int wide = 0;
        while (*++format == 'l')
            wide++;
        if (*format == 's') {
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(where, *text);
        } else if (*format == 'c') {
            put(where, (char)va_arg(arguments, int));
        } else if (*format == 'd') {
            sword value = wide ? va_arg(arguments, sword) : va_arg(arguments, int);
            if (value < 0)
                put(where, '-');
            put_number(put, where, value < 0 ? -(word)value : (word)value, 10);
        } else {
            u64 value = wide == 2 ? va_arg(arguments, u64) : wide ? va_arg(arguments, word) : va_arg(arguments, u32);
            put_number(put, where, value, *format == 'x' ? 16 : 10);
        }
    }
}

struct target {
    char *to;
    word used, size;
};

static void put_in_buffer(void *where, char c)
{
    struct target *target = where;
    if (target->used + 1 < target->size)
        target->to[target->used++] = c;
}

/* Writes at most `size` bytes, the zero at the end included; says how long the text is. */
int format(char *to, word size, const char *format, ...)
{
    struct target target = { to, 0, size };
    va_list arguments;
    va_start(arguments, format);
    format_to(put_in_buffer, &target, format, arguments);
    va_end(arguments);
    to[target.used] = 0;
    return (int)target.used;
}
