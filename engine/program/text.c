#include "text.h"

#include <stdint.h>
#include <stdlib.h>

/* The next character of UTF-8, or 0xdc00 + a byte that is none, as Python reads names of files. */
static uint32_t next(const char **text)
{
    const uint8_t *at = (const uint8_t *)*text;
    const unsigned length = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : *at < 0xf5 ? 4 : 0;
    uint32_t code = length == 1 ? *at : *at & (0x7fU >> length);
    unsigned i = 1;
    for (; i < length && (at[i] & 0xc0) == 0x80; i++) code = code << 6 | (at[i] & 0x3fU);
    const int small = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
    if (length == 0 || i < length || small || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        ++*text;
        return 0xdc00 + *at;
    }
    *text += length;
    return code;
}

static int controls(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0xad || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202f) || (code >= 0x205f && code <= 0x206f) || code == 0xfeff ||
           (code >= 0xd800 && code <= 0xf8ff) || (code >= 0xfff0 && code <= 0xfffb) || code >= 0xe0000;
}

void text_print(FILE *out, const char *text)
{
    while (*text != '\0') {
        const char *begin = text;
        const uint32_t code = next(&text);
        if (!controls(code))
            fwrite(begin, 1, (size_t)(text - begin), out);
        else if (code == '\n' || code == '\t' || code == '\r')
            fprintf(out, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
        else
            fprintf(out, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
    }
}

void text_print_json(FILE *out, const char *text)
{
    putc('"', out);
    while (*text != '\0') {
        const uint32_t code = next(&text);
        static const char plain[] = "\b\t\n\f\r", letters[] = "btnfr";
        int escape = 0;
        for (int i = 0; i < 5; i++)
            if (code == (uint32_t)plain[i]) escape = letters[i];
        if (code == '"' || code == '\\') escape = (int)code;
        if (escape != 0)
            fprintf(out, "\\%c", escape);
        else if (code >= 0x20 && code < 0x7f)
            putc((int)code, out);
        else if (code < 0x10000)
            fprintf(out, "\\u%04x", (unsigned)code);
        else
            fprintf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                    (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
    }
    putc('"', out);
}

void text_print_number(FILE *out, double number)
{
    char text[32];
    int digits = 1;
    do snprintf(text, sizeof text, "%.*g", digits, number);
    while (digits++ < 17 && strtod(text, NULL) != number);
    fputs(text, out);
}
