#include "deep.h"

#include <string.h>

size_t sqz_both_halves(int32_t *levels, size_t outputs, size_t each)
{
    for (size_t from = outputs; from-- > 0;)
        for (size_t to = 2 * from + 2; to-- > 2 * from;)
            memmove(levels + to * each, levels + from * each, each * sizeof *levels);
    return 2 * each;
}

void sqz_upper_half(int64_t *offsets, size_t count)
{
    for (size_t i = 0; i < count; i++) offsets[count + i] = offsets[i] - ((int64_t)SQZ_HIGHEST << 32);
}
