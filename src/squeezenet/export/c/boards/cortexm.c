/* Vectors, reset and a clock for boards with a Cortex-M processor. */
#include <string.h>

#include "board.h"

typedef union {
    void *stack;
    void (*code)(void);
} vector;

extern uint8_t data_load[], data_begin[], data_end[], zeros_begin[], zeros_end[]; /* of the linker script */
extern uint32_t stack_begin[];
void board_exit(int status);
int main(void);

/* The registers of the clock of each board. The emulator runs one instruction in a nanosecond (-icount shift=0). */
#if defined(BOARD_NETDUINOPLUS2)
/* Timer 2 counts the nanoseconds of the emulator, divided by its prescaler + 1. */
#define TIMER ((volatile uint32_t *)0x40000000)
enum { CONTROL = 0, EVENT = 5, COUNT = 9, PRESCALER = 10, RELOAD = 11, STEP = 16 };

static void start_clock(void)
{
    TIMER[RELOAD] = UINT32_MAX;
    TIMER[PRESCALER] = STEP - 1;
    TIMER[EVENT] = 1;
    TIMER[CONTROL] = 1;
}

uint64_t board_instructions(void)
{
    return (uint64_t)TIMER[COUNT] * STEP;
}
#elif defined(BOARD_LM3S6965EVB)
/* The system timer counts down 24 bits, at 12.5 MHz after a reset. More than one turn between two calls is not
 * noticed. */
#define TIMER ((volatile uint32_t *)0xe000e010)
enum { CONTROL = 0, RELOAD = 1, COUNT = 2, STEP = 80, BITS = 24 };

static void start_clock(void)
{
    TIMER[RELOAD] = (1u << BITS) - 1;
    TIMER[COUNT] = 0;
    TIMER[CONTROL] = 5;
}

uint64_t board_instructions(void)
{
    static uint64_t ticks;
    ticks += ((1u << BITS) - 1 - TIMER[COUNT] - ticks) & ((1u << BITS) - 1);
    return ticks * STEP;
}
#else
/* The system counter of 64 bits, at 32 MHz. */
#define COUNTER ((volatile uint32_t *)0x58100000)
enum { CONTROL = 0, LOW = 2, HIGH = 3 };

static void start_clock(void)
{
    COUNTER[CONTROL] = 1;
}

uint64_t board_instructions(void)
{
    uint32_t high = COUNTER[HIGH], low = COUNTER[LOW];
    if (COUNTER[HIGH] != high) {
        high = COUNTER[HIGH];
        low = COUNTER[LOW];
    }
    return ((uint64_t)high << 32 | low) * 125 / 4;
}
#endif

static void fail(void)
{
    board_print("the processor reported a fault\n");
    board_exit(3);
}

void reset(void);

void reset(void)
{
#ifdef __ARM_FEATURE_MVE
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20; /* the vector registers belong to coprocessors 10 and 11 */
    __asm__ volatile("dsb\nisb");
#endif
    memcpy(data_begin, data_load, (size_t)(data_end - data_begin));
    memset(zeros_begin, 0, (size_t)(zeros_end - zeros_begin));
    start_clock();
    board_exit(main());
}

extern const vector vectors[16];
__attribute__((section(".vectors"), used)) const vector vectors[16] = {
    {.stack = stack_begin}, {.code = reset}, {.code = fail}, {.code = fail}, {.code = fail}, {.code = fail},
    {.code = fail},         {.code = fail},  {.code = fail}, {.code = fail}, {.code = fail}, {.code = fail},
    {.code = fail},         {.code = fail},  {.code = fail}, {.code = fail},
};
