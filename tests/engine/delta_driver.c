/* Applies a delta as a device does: `delta_driver old.sqz delta.sqzd new.sqz memory cut`. Of the new file, what is there
 * already is not written again. After `cut` bytes the power is cut: the program ends with status 3. Prints the bytes of
 * memory that were needed. */
#include <stdio.h>
#include <stdlib.h>

#include "delta.h"

typedef struct {
    FILE *file;
    size_t there, left; /* bytes that were there at first; bytes until the power is cut */
} flash;

static int put(void *context, size_t offset, const uint8_t *bytes, size_t count)
{
    flash *f = context;
    const size_t skipped = offset >= f->there ? 0 : f->there - offset < count ? f->there - offset : count;
    for (size_t i = skipped; i < count; i++) {
        if (f->left-- == 0) {
            fclose(f->file);
            exit(3);
        }
        fputc(bytes[i], f->file);
    }
    return 0;
}

static uint8_t *contents(const char *name, size_t *bytes)
{
    static uint8_t held[2][1 << 20];
    static int next;
    FILE *file = fopen(name, "rb");
    if (file == NULL) exit(1);
    *bytes = fread(held[next], 1, sizeof held[next], file);
    fclose(file);
    return held[next++];
}

int main(int argc, char **argv)
{
    size_t old_bytes, delta_bytes;
    if (argc != 6) return 1;
    const uint8_t *old = contents(argv[1], &old_bytes), *delta = contents(argv[2], &delta_bytes);
    size_t room = (size_t)atol(argv[4]);
    flash f = {fopen(argv[3], "ab"), 0, (size_t)atol(argv[5])};
    if (f.file == NULL) return 1;
    fseek(f.file, 0, SEEK_END);
    f.there = (size_t)ftell(f.file);
    const int status = sqz_delta_apply(old, old_bytes, delta, delta_bytes, malloc(room), &room, put, &f);
    fclose(f.file);
    printf("%zu\n", room);
    return status == SQZ_OK ? 0 : 2;
}
