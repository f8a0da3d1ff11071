/* Makes a new model from an old one and a delta (`squeezenet delta`): update old.sqz delta.sqzd new.sqz
 *
 * As after a power cut, bytes that new.sqz has already are compared, and not written again. If they are others, remove
 * new.sqz. */
#include <sqz.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    FILE *file;
    size_t there; /* bytes that the file had at first, */
    size_t end;   /* and that it must have */
} output;

/* The pieces of the new file come in order. Returns 0, or 1 to stop. */
static int write_piece(void *context, size_t offset, const uint8_t *bytes, size_t count)
{
    output *o = context;
    size_t known = 0;
    for (; known < count && offset + known < o->there; known++)
        if (fgetc(o->file) != bytes[known]) return 1;
    o->end = offset + count;
    if (offset + known == o->there && fseek(o->file, 0, SEEK_END) != 0) return 1; /* between reading and writing */
    return fwrite(bytes + known, 1, count - known, o->file) != count - known;
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
    output o = {fopen(argv[3], "a+b"), 0, 0};
    void *memory = NULL;
    int status;
    if (o.file == NULL || fseek(o.file, 0, SEEK_END) != 0) return 1;
    o.there = (size_t)ftell(o.file);
    rewind(o.file);
    do { /* at most three times: nothing is written before the memory is large enough */
        given = room;
        free(memory);
        memory = malloc(room + 1);
        if (memory == NULL) return 1;
        status = sqz_delta_apply(old, old_bytes, delta, delta_bytes, memory, &room, write_piece, &o);
    } while (status == SQZ_NO_ROOM && room > given);
    if (fclose(o.file) != 0 || status != SQZ_OK || o.end < o.there) return 1;
    printf("%zu bytes of memory\n", room);
    return 0;
}
