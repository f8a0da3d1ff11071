/* Counts the instructions that the decoding of weights takes (make decoding): the linker puts this function between the
 * network and the engine (--wrap). */
#include "board.h"
#include "run.h"

void __real_sqz_block_decoded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first,
                              uint32_t vectors, sqz_block *block);
void __wrap_sqz_block_decoded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first,
                              uint32_t vectors, sqz_block *block);

void __wrap_sqz_block_decoded(const sqz_task *task, const sqz_layout *layout, uint32_t group, uint32_t first,
                              uint32_t vectors, sqz_block *block)
{
    const uint64_t before = board_instructions();
    __real_sqz_block_decoded(task, layout, group, first, vectors, block);
    board_decoding += board_instructions() - before;
}
