/* Reset, a clock, and the functions of <string.h> for RISC-V: the compiler comes without a library. */
#include <string.h>

#include "board.h"

extern uint8_t data_load[], data_begin[], data_end[], zeros_begin[], zeros_end[]; /* of the linker script */
void board_exit(int status);
int main(void);
void start(void);

__asm__(
    ".section .vectors, \"ax\"\n"
    ".globl reset\n"
    "reset:\n"
    ".option push\n.option norelax\n.option arch, +zicsr\n"
    "la gp, __global_pointer$\n"
    "la sp, stack_begin\n"
    "la t0, fail\n"
    "csrw mtvec, t0\n"
    ".option pop\n"
    "j start\n"
    ".text\n");

void fail(void);

__attribute__((aligned(4))) void fail(void)
{
    board_print("the processor reported a fault\n");
    board_exit(3);
}

void start(void)
{
    memcpy(data_begin, data_load, (size_t)(data_end - data_begin));
    memset(zeros_begin, 0, (size_t)(zeros_end - zeros_begin));
    board_exit(main());
}

uint64_t board_instructions(void)
{
    uint32_t high, low, again;
    do
        __asm__ volatile(
            ".option push\n.option arch, +zicsr\ncsrr %0, mcycleh\ncsrr %1, mcycle\ncsrr %2, mcycleh\n.option pop"
            : "=r"(high), "=r"(low), "=r"(again));
    while (high != again);
    return (uint64_t)high << 32 | low;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3) == 0)
        for (; n >= 4; n -= 4, out += 4, in += 4) *(uint32_t *)(void *)out = *(const uint32_t *)(const void *)in;
    for (; n > 0; n--) *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if (out <= in)
        for (size_t i = 0; i < n; i++) out[i] = in[i];
    else
        while (n-- > 0) out[n] = in[n];
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    uint8_t *out = to;
    for (; n > 0; n--) *out++ = (uint8_t)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] - y[i];
    return 0;
}

size_t strlen(const char *text)
{
    size_t n = 0;
    while (text[n] != '\0') n++;
    return n;
}
