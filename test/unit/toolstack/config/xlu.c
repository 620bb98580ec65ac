/*
 * Asks Debian's libxlutil what it makes of texts. Standard input is a row of requests: a letter, a length in four bytes
 * (little-endian), so many bytes. `n` names the keys to be looked up (separated by commas), `c` is a description file,
 * `d` a disk specification, `r` a rate. Each of the last three is answered by one line; texts are printed as
 * hexadecimal digits. Each is read in a process of its own, because the library aborts on some.
 */
#include <libxlutil.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char names[4096];

static void hex(const char *text)
{
    putchar('"');
    for (; *text; text++) printf("%02x", (unsigned char)*text);
    putchar('"');
}

static void text(const char *value)
{
    if (value) hex(value); else printf("null");
}

static void show(XLU_Config *config, XLU_ConfigValue *value)
{
    char *atom;
    XLU_ConfigList *list;
    if (xlu_cfg_value_type(value) == XLU_STRING) {
        xlu_cfg_value_get_string(config, value, &atom, 1);
        hex(atom);
        return;
    }
    xlu_cfg_value_get_list(config, value, &list, 1);
    putchar('[');
    for (int i = 0; xlu_cfg_get_listitem2(list, i); i++) {
        if (i) putchar(',');
        show(config, xlu_cfg_get_listitem2(list, i));
    }
    putchar(']');
}

static void key(XLU_Config *config, const char *name, int first)
{
    const char *atom;
    XLU_ConfigList *list;
    int entries;
    long number;
    if (!xlu_cfg_get_string(config, name, &atom, 1)) {
        printf("%s\"%s\":{\"value\":", first ? "" : ",", name);
        hex(atom);
        if (!xlu_cfg_get_long(config, name, &number, 1)) printf(",\"number\":\"%ld\"", number);
        putchar('}');
    } else if (!xlu_cfg_get_list(config, name, &list, &entries, 1)) {
        printf("%s\"%s\":{\"value\":[", first ? "" : ",", name);
        for (int i = 0; i < entries; i++) {
            if (i) putchar(',');
            show(config, xlu_cfg_get_listitem2(list, i));
        }
        printf("]}");
    } else printf("%s\"%s\":{}", first ? "" : ",", name);
}

static void description(XLU_Config *config, const char *data, int length)
{
    int error = xlu_cfg_readdata(config, data, length);
    printf("\"error\":%d,\"keys\":{", error);
    if (!error) {
        char *rest = names, *name;
        for (int first = 1; (name = strsep(&rest, ",")); first = 0) key(config, name, first);
    }
    putchar('}');
}

static void disk(XLU_Config *config, const char *data)
{
    libxl_device_disk disk;
    libxl_device_disk_init(&disk);
    printf("\"error\":%d,\"target\":", xlu_disk_parse(config, 1, &data, &disk));
    text(disk.pdev_path);
    printf(",\"vdev\":"); text(disk.vdev);
    printf(",\"backend\":"); text(disk.backend_domname);
    printf(",\"script\":"); text(disk.script);
    printf(",\"format\":\"%s\"", libxl_disk_format_to_string(disk.format));
    printf(",\"backendType\":\"%s\"", libxl_disk_backend_to_string(disk.backend));
    printf(",\"specification\":\"%s\"", libxl_disk_specification_to_string(disk.specification));
    printf(",\"readwrite\":%d,\"cdrom\":%d,\"directIoSafe\":%d", disk.readwrite, disk.is_cdrom, disk.direct_io_safe);
    printf(",\"discard\":\"%s\"", libxl_defbool_to_string(disk.discard_enable));
    printf(",\"trusted\":\"%s\"", libxl_defbool_to_string(disk.trusted));
}

static void rate(XLU_Config *config, const char *data)
{
    libxl_device_nic nic;
    libxl_device_nic_init(&nic);
    printf("\"error\":%d", xlu_vif_parse_rate(config, data, &nic));
    printf(",\"bytes\":\"%llu\",\"interval\":%u", (unsigned long long)nic.rate_bytes_per_interval, nic.rate_interval_usecs);
}

static void answer(int kind, const char *data, uint32_t length)
{
    char *report = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&report, &size);
    XLU_Config *config = xlu_cfg_init(stream, "text");
    putchar('{');
    if (kind == 'c') description(config, data, length);
    else if (kind == 'd') disk(config, data);
    else rate(config, data);
    fflush(stream);
    printf(",\"report\":");
    hex(report);
    printf("}\n");
}

int main(void)
{
    int kind;
    uint32_t length;
    while ((kind = getchar()) != EOF && fread(&length, 4, 1, stdin) == 1) {
        char *data = calloc(1, length + 1);
        if (fread(data, 1, length, stdin) != length) return 1;
        if (kind == 'n') strncpy(names, data, sizeof names - 1);
        else {
            int status;
            fflush(stdout);
            pid_t child = fork();
            if (child == 0) {
                char *line;
                size_t size;
                freopen("/dev/null", "w", stderr);
                /* Where the library ends the process, half a line must not be left behind. */
                stdout = open_memstream(&line, &size);
                answer(kind, data, length);
                fflush(stdout);
                _exit(write(1, line, size) != (ssize_t)size);
            }
            waitpid(child, &status, 0);
            if (!WIFEXITED(status) || WEXITSTATUS(status)) printf("{\"error\":-1,\"report\":\"\"}\n");
        }
        free(data);
    }
    return 0;
}
