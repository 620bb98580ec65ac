/* Checked forms of functions, which Debian's builds of libraries call by the names of GNU's C library and musl has not. */
typedef __builtin_va_list va_list;

int vfprintf(void *file, const char *format, va_list values);
int vsnprintf(char *to, unsigned long size, const char *format, va_list values);
int __vfprintf_chk(void *file, int level, const char *format, va_list values);
int __fprintf_chk(void *file, int level, const char *format, ...);
int __vsnprintf_chk(char *to, unsigned long size, int level, unsigned long room, const char *format, va_list values);
int __snprintf_chk(char *to, unsigned long size, int level, unsigned long room, const char *format, ...);

int __vfprintf_chk(void *file, int level, const char *format, va_list values)
{
    (void)level;
    return vfprintf(file, format, values);
}

int __fprintf_chk(void *file, int level, const char *format, ...)
{
    va_list values;
    __builtin_va_start(values, format);
    int count = __vfprintf_chk(file, level, format, values);
    __builtin_va_end(values);
    return count;
}

int __vsnprintf_chk(char *to, unsigned long size, int level, unsigned long room, const char *format, va_list values)
{
    (void)level;
    if (size > room)
        __builtin_trap();
    return vsnprintf(to, size, format, values);
}

int __snprintf_chk(char *to, unsigned long size, int level, unsigned long room, const char *format, ...)
{
    va_list values;
    __builtin_va_start(values, format);
    int count = __vsnprintf_chk(to, size, level, room, format, values);
    __builtin_va_end(values);
    return count;
}
