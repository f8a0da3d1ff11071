/* Makes a new model from an old one and a delta (`squeezenet delta`): update old.sqz delta.sqzd new.sqz
 *
 * As after a power cut, bytes that new.sqz has already are not written again. */
#include <sqz.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    FILE *file;
    size_t there; /* bytes that the file had at first */
} output;

/* The pieces of the new file come in order. Returns 0, or 1 to stop. */
static int write_piece(void *context, size_t offset, const uint8_t *bytes, size_t count)
{
    const output *o = context;
    const size_t skipped = offset >= o->there ? 0 : o->there - offset < count ? o->there - offset : count;
    return fwrite(bytes + skipped, 1, count - skipped, o->file) != count - skipped;
}

/* All bytes of a file, in memory that is never freed. A device has both files in flash, and needs no copies. */
static uint8_t *contents(const char *name, size_t *bytes)
{
    FILE *file = fopen(name, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(1);
    *bytes = (size_t)ftell(file);
    rewind(file);
    uint8_t *found = malloc(*bytes + 1);
    if (found == NULL || fread(found, 1, *bytes, file) != *bytes) exit(1);
    fclose(file);
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    size_t old_bytes, delta_bytes, room = 0, given;
    const uint8_t *old = contents(argv[1], &old_bytes), *delta = contents(argv[2], &delta_bytes);
    output o = {fopen(argv[3], "ab"), 0};
    void *memory = NULL;
    int status;
    if (o.file == NULL || fseek(o.file, 0, SEEK_END) != 0) return 1;
    o.there = (size_t)ftell(o.file);
    do { /* at most three times: nothing is written before the memory is large enough */
        given = room;
        free(memory);
        memory = malloc(room + 1);
        if (memory == NULL) return 1;
        status = sqz_delta_apply(old, old_bytes, delta, delta_bytes, memory, &room, write_piece, &o);
    } while (status == SQZ_NO_ROOM && room > given);
    if (fclose(o.file) != 0 || status != SQZ_OK) return 1;
    printf("%zu bytes of memory\n", room);
    return 0;
}
