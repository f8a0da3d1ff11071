/* Makes the front of a file whose header says that its graph has 2^32 - 1 bytes, as a stranger's delta may. Where
 * addresses have 32 bits, that many bytes and a header are 23 bytes. Returns 0 if the delta is refused. */
#include <string.h>

#include "delta_front.h"

int main(void)
{
    static uint8_t memory[64];
    static const uint8_t body[4] = {1, 0, SQZ_FILE_HEADER, 0}; /* one piece: the header of the old file */
    uint8_t old[SQZ_FILE_HEADER], *front;
    arena a = {memory, sizeof memory, 0, 0};
    const sqz_cursor c = {body, body + sizeof body, SQZ_OK};
    size_t bytes;
    memset(old, 255, sizeof old);
    return sqz_delta_read_front(&a, c, old, sizeof old, 1000, &front, &bytes) == SQZ_TRUNCATED ? 0 : 1;
}
