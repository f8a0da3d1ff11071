/* The start of a program on an emulated Cortex-M4, and what is measured there, the same for every tool.
 *
 * QEMU runs with `-icount shift=0`: one instruction is one nanosecond of the emulated clock, so that a timer counts
 * instructions. A tool gives `begin` and `classify` (tool.h). The program prints `name value` lines and ends.
 */
#include <stddef.h>
#include <stdint.h>

#include "tool.h"

#define PAINT 0xA5A5A5A5u
#define PASSES 100000u /* of the loop whose length is known: 2 instructions each */

extern uint32_t data_start[], data_end[], data_source[], bss_start[], bss_end[], stack_top[];
static char *heap;

int main(void);

static uintptr_t semihosting(uintptr_t operation, const void *argument)
{
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void told(const char *name, uint64_t value)
{
    char line[80];
    size_t end = sizeof line - 1;
    line[end] = '\0';
    line[--end] = '\n';
    do {
        line[--end] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    line[--end] = ' ';
    semihosting(0x04, name); /* SYS_WRITE0 */
    semihosting(0x04, line + end);
}

_Noreturn void stop(int status)
{
    const uintptr_t block[2] = {0x20026, (uintptr_t)status}; /* ADP_Stopped_ApplicationExit */
    semihosting(0x20, block);                                /* SYS_EXIT_EXTENDED */
    for (;;) {
    }
}

_Noreturn void failed(const char *why)
{
    semihosting(0x04, why);
    semihosting(0x04, "\n");
    stop(1);
}

static _Noreturn void fault(void)
{
    failed("a fault of the processor: too little memory for the stack?");
}

#ifdef NETDUINOPLUS2 /* TIM2 of the STM32F405, which QEMU clocks with 1 GHz; a step is 16 instructions */
#define STEP 16u
#define TIM2 ((volatile uint32_t *)0x40000000)
static void start_timer(void)
{
    TIM2[0x28 / 4] = STEP - 1;   /* PSC */
    TIM2[0x2c / 4] = 0xFFFFFFFF; /* ARR */
    TIM2[0x14 / 4] = 1;          /* EGR: take both */
    TIM2[0x00 / 4] = 1;          /* CR1: count */
}
static uint32_t steps(void)
{
    return TIM2[0x24 / 4];
}
#else /* TIMER0 of MPS2, 25 MHz; a step is 40 instructions */
#define STEP 40u
#define TIMER0 ((volatile uint32_t *)0x40000000)
static void start_timer(void)
{
    TIMER0[2] = 0xFFFFFFFF; /* RELOAD */
    TIMER0[1] = 0xFFFFFFFF; /* VALUE */
    TIMER0[0] = 1;          /* CTRL: count down */
}
static uint32_t steps(void)
{
    return 0u - TIMER0[1];
}
#endif

static uint64_t since(uint32_t start)
{
    return (uint64_t)(steps() - start) * STEP;
}

/* What newlib asks for memory with; bytes given out are told as the heap. */
void *_sbrk(ptrdiff_t bytes)
{
    char *given = heap;
    if (heap + bytes > (char *)&given - 4096) return (void *)-1;
    heap += bytes;
    return given;
}

int main(void)
{
    volatile uint32_t *place = bss_end; /* volatile: or the compiler calls memset, whose frame would be painted over */
    uint32_t start, passes = PASSES;
    uint64_t began, first, again;
    uint32_t *here;
    heap = (char *)bss_end;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    while (place < here) *place++ = PAINT; /* nothing lies below the stack pointer */
    start_timer();
    start = steps();
    __asm__ volatile(".balign 4\n1: subs %0, #1\n bne 1b" : "+r"(passes) : : "cc");
    told("loop", since(start));
    start = steps();
    begin();
    began = since(start);
    start = steps();
    classify();
    first = since(start);
    start = steps();
    classify();
    again = since(start);
    place = (volatile uint32_t *)(((uintptr_t)heap + 3) & ~(uintptr_t)3);
    while (*place == PAINT) place++;
    told("begin", began);
    told("first", first);
    told("again", again);
    told("heap", (uint64_t)(heap - (char *)bss_end));
    told("stack", (uint64_t)((char *)stack_top - (char *)place));
    finish();
    stop(0);
}

static _Noreturn void reset(void)
{
    volatile uint32_t *to = data_start;
    const uint32_t *from = data_source;
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the floating-point unit */
    __asm__ volatile("dsb\n isb");
    while (to < data_end) *to++ = *from++;
    for (to = bss_start; to < bss_end;) *to++ = 0;
    main();
    stop(1);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};
