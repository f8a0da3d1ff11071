/* Copying and comparing bytes. Compiled with -fno-builtin, or the compiler would call these functions in themselves. */
#include <stdint.h>
#include <string.h>

typedef struct {
    uint64_t word;
} __attribute__((packed, may_alias)) any; /* eight bytes at any address */

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    return memmove(to, from, n);
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= n) {
        for (; n >= 8; n -= 8, t += 8, f += 8) ((any *)t)->word = ((const any *)f)->word;
        while (n-- > 0) *t++ = *f++;
    } else {
        for (; n >= 8; n -= 8) ((any *)(t + n - 8))->word = ((const any *)(f + n - 8))->word;
        while (n-- > 0) t[n] = f[n];
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    const uint64_t word = UINT64_C(0x0101010101010101) * (uint8_t)byte;
    uint8_t *t = to;
    for (; n >= 8; n -= 8, t += 8) ((any *)t)->word = word;
    while (n-- > 0) *t++ = (uint8_t)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}
