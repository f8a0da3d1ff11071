/* Reading and printing by semihosting: an emulator or a debugger does it. Both kinds of processors have the same calls.
 * On a board without a debugger, replace these functions, for example by those of a camera and a serial line. */
#include <string.h>

#include "board.h"

uint64_t board_decoding;

enum { OPEN = 1, WRITE = 5, READ = 6, EXIT = 0x20, NORMAL = 0x20026 }; /* NORMAL: the program ended by itself */
enum { FOR_READING = 1, FOR_WRITING = 4 };

static intptr_t call(intptr_t operation, const void *arguments)
{
#ifdef __arm__
    register intptr_t first __asm__("r0") = operation;
    register const void *second __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xab" : "+r"(first) : "r"(second) : "memory");
#else
    register intptr_t first __asm__("a0") = operation;
    register const void *second __asm__("a1") = arguments;
    __asm__ volatile(
        ".option push\n.option norvc\n.balign 16\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
        : "+r"(first)
        : "r"(second)
        : "memory");
#endif
    return first;
}

static intptr_t open_file(const char *name, uintptr_t mode)
{
    const uintptr_t arguments[] = {(uintptr_t)name, mode, strlen(name)};
    return call(OPEN, arguments);
}

int board_read(void *bytes, size_t count)
{
    static intptr_t file = -1;
    if (file < 0) file = open_file("test/image.bin", FOR_READING);
    const uintptr_t read[] = {(uintptr_t)file, (uintptr_t)bytes, count};
    return file >= 0 && call(READ, read) == 0; /* the result is how many bytes are missing */
}

void board_print(const char *text)
{
    static intptr_t console = -1;
    if (console < 0) console = open_file(":tt", FOR_WRITING);
    const uintptr_t write[] = {(uintptr_t)console, (uintptr_t)text, strlen(text)};
    call(WRITE, write);
}

void board_exit(int status);

void board_exit(int status)
{
    const uintptr_t exit[] = {NORMAL, (uintptr_t)status};
    call(EXIT, exit);
    for (;;) {}
}

/* The stack pointer is a multiple of this number. A function may leave the last words of its frame as they were. */
#ifdef __arm__
enum { STEP = 4 };
#else
enum { STEP = 16 };
#endif

size_t board_used_stack(uintptr_t frame)
{
    const uint32_t *at = stack_end;
    while ((uintptr_t)at < frame && *at == BOARD_PAINT) at++;
    return (frame - (uintptr_t)at + STEP - 1) / STEP * STEP;
}
