/* How to turn an image upright: EXIF or XMP. */
#include <string.h>

#include "picture.h"

/* A number of `size` bytes; bytes past the end count as if they were not there. */
static uint32_t number(const uint8_t *data, size_t bytes, size_t at, size_t size, int big)
{
    uint32_t value = 0;
    size_t count = 0;
    while (count < size && at + count < bytes) count++;
    for (size_t i = 0; i < count; i++) value = value << 8 | data[big ? at + i : at + count - 1 - i];
    return value;
}

/* 0 if there is none. */
static uint32_t of_exif(const uint8_t *data, size_t bytes)
{
    size_t start = 0;
    while (bytes - start >= 6 && memcmp(data + start, "Exif\0", 6) == 0) start += 6;
    if (bytes - start < 2 || (memcmp(data + start, "II", 2) != 0 && memcmp(data + start, "MM", 2) != 0)) return 0;
    const int big = data[start] == 'M';
    const size_t at = start + number(data, bytes, start + 4, 4, big), count = number(data, bytes, at, 2, big);
    for (size_t i = 0; i < count; i++) {
        const size_t entry = at + 2 + 12 * i;
        if (entry + 12 > bytes) return 0;
        const uint32_t kind = number(data, bytes, entry + 2, 2, big);
        if (number(data, bytes, entry, 2, big) != 0x0112 || number(data, bytes, entry + 4, 4, big) != 1) continue;
        if (kind == 1 || kind == 3 || kind == 4) {
            const uint32_t found = number(data, bytes, entry + 8, kind == 1 ? 1 : kind == 3 ? 2 : 4, big);
            return found == 0 ? 1 : found;
        }
    }
    return 0;
}

static uint32_t of_xmp(const uint8_t *xmp, size_t bytes)
{
    static const char *const name = "tiff:Orientation";
    const size_t length = strlen(name);
    for (size_t i = 0; i + length + 2 <= bytes; i++) {
        if (memcmp(xmp + i, name, length) != 0) continue;
        size_t at = i + length;
        if (xmp[at] == '>')
            at++;
        else if (xmp[at] == '=' && xmp[at + 1] == '"')
            at += 2;
        else
            continue;
        if (at < bytes && xmp[at] >= '0' && xmp[at] <= '9') return (uint32_t)(xmp[at] - '0');
    }
    return 1;
}

uint32_t picture_orientation(const uint8_t *exif, size_t exif_bytes, const uint8_t *xmp, size_t xmp_bytes)
{
    const uint32_t found = exif != NULL ? of_exif(exif, exif_bytes) : 0;
    return found != 0 ? found : xmp != NULL ? of_xmp(xmp, xmp_bytes) : 1;
}
