/* What the example needs of a board: the bytes of an image, a line of text, a clock, and the depth of the stack. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

/* Read the next bytes of the image. Returns whether there were so many. */
int board_read(void *bytes, size_t count);
void board_print(const char *text);

/* Instructions since some moment, in steps of at most 80; 0 if the board cannot count them. */
uint64_t board_instructions(void);

/* Instructions that decoding took, where decoding.c counts them; otherwise 0. */
extern uint64_t board_decoding;


/* Fill the unused stack with a pattern, from its end to the caller's frame; returns the address of that frame, or 0 if
 * the board does not measure its stack. Then the bytes that were used below this address. */
static inline uintptr_t board_paint_stack(void);
size_t board_used_stack(uintptr_t frame);

#if defined(__arm__) || defined(__riscv)
extern uint32_t stack_end[]; /* of the linker script: the lowest address of the stack */
#define BOARD_PAINT 0xa5a5a5a5u

static inline uintptr_t board_paint_stack(void)
{
    uintptr_t frame;
#ifdef __arm__
    __asm__ volatile("mov %0, sp" : "=r"(frame));
#else
    __asm__ volatile("mv %0, sp" : "=r"(frame));
#endif
    for (volatile uint32_t *at = stack_end; (uintptr_t)at < frame; at++) *at = BOARD_PAINT;
    return frame;
}
#else
static inline uintptr_t board_paint_stack(void)
{
    return 0;
}
#endif

#endif
