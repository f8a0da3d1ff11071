/* Classifies one image, which arrives row by row, and prints the five best classes, the logits, and what it took. */
#include "board.h"
#include "model.h"

enum { BEST = MODEL_CLASSES < 5 ? MODEL_CLASSES : 5, DIGITS = 24 };

static model_memory memory;
static union { /* the rows are no longer needed when the logits are there */
    uint8_t row[MODEL_WIDTH * MODEL_CHANNELS];
    int32_t logits[MODEL_CLASSES];
} data;

static void print_number(int64_t number)
{
    char text[DIGITS];
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    size_t at = sizeof text - 1;
    text[at] = '\0';
    do
        text[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0) text[--at] = '-';
    board_print(text + at);
}

static void print(const char *name, int64_t number)
{
    board_print(name);
    board_print(" ");
    print_number(number);
    board_print("\n");
}

/* The class with the highest logit that comes after `before`, in the order of falling logits. */
static size_t next_best(size_t before)
{
    size_t best = MODEL_CLASSES;
    for (size_t i = 0; i < MODEL_CLASSES; i++) {
        if (before < MODEL_CLASSES && (data.logits[i] > data.logits[before] ||
                                       (data.logits[i] == data.logits[before] && i <= before)))
            continue;
        if (best == MODEL_CLASSES || data.logits[i] > data.logits[best]) best = i;
    }
    return best;
}

int main(void)
{
    const uintptr_t frame = board_paint_stack();
    uint64_t instructions = 0, before = board_instructions();
    model_begin(&memory);
    instructions += board_instructions() - before;
    for (size_t y = 0; y < MODEL_HEIGHT; y++) {
        if (!board_read(data.row, sizeof data.row)) {
            board_print("test/image.bin: cannot be read, or has too few bytes\n");
            return 1;
        }
        before = board_instructions();
        model_row(&memory, data.row);
        instructions += board_instructions() - before;
    }
    before = board_instructions();
    model_finish(&memory, data.logits);
    instructions += board_instructions() - before;
    const size_t stack = board_used_stack(frame);

    for (size_t i = 0, best = MODEL_CLASSES; i < BEST; i++) {
        best = next_best(best);
        board_print(MODEL_LABEL(best));
        print(": class", (int64_t)best);
    }
    for (size_t i = 0; i < MODEL_CLASSES; i++) print("logit", data.logits[i]);
    if (instructions > 0) print("instructions", (int64_t)instructions);
    if (board_decoding > 0) print("decoding", (int64_t)board_decoding);
    if (stack > 0) print("stack", (int64_t)stack);
    return 0;
}
