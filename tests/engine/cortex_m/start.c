/* Starts a program on an emulated Cortex-M board. The C library's semihosting gives it arguments and files of the host. */
#include <stddef.h>
#include <stdint.h>

void _start(void);
void reset(void);
void *_sbrk(ptrdiff_t bytes);
extern uint32_t stack_top[];
extern uint8_t end[];

__attribute__((used, section(".vectors"))) const uintptr_t vectors[16] = {(uintptr_t)stack_top, (uintptr_t)reset};

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000; /* CPACR: floating point and vectors may be used, if there are any */
    _start();
}

/* The library's own function trusts the emulator to know where memory ends. */
void *_sbrk(ptrdiff_t bytes)
{
    static uint8_t *used = end;
    void *const before = used;
    used += bytes;
    return before;
}
