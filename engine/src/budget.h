/* How much a file may ask for (docs/FORMAT.md, "What a reader refuses"). src/squeezenet/limits.py has the same numbers
 * with their units, under the same names; tests/sqz/test_hostile_models.py compares the two. */
#ifndef SQZ_BUDGET_H
#define SQZ_BUDGET_H

#include <stdint.h>

#define SQZ_MAX_MODEL_FILE (UINT32_C(1) << 30)
#define SQZ_MAX_OPERATIONS UINT32_C(4096)
#define SQZ_MAX_SIDE UINT32_C(8192)
#define SQZ_MAX_ELEMENTS (UINT64_C(1) << 31)
#define SQZ_MAX_LIVE (UINT64_C(1) << 26)
#define SQZ_MAX_WINDOWS (UINT64_C(1) << 28)
#define SQZ_MAX_WEIGHTS (UINT64_C(1) << 28)
#define SQZ_FREE_WEIGHTS (UINT64_C(1) << 16)
#define SQZ_WEIGHTS_A_BYTE UINT64_C(128)
#define SQZ_FREE_MEMORY (UINT64_C(3) << 26)
#define SQZ_MEMORY_A_BYTE UINT64_C(256)
#define SQZ_FREE_WORK (UINT64_C(1) << 35)
#define SQZ_WORK_A_BYTE UINT64_C(32768)
#define SQZ_MAX_TEXT (UINT32_C(1) << 24)
#define SQZ_MAX_MIXED_TEXT (UINT32_C(1) << 22)
#define SQZ_FREE_TEXT (UINT32_C(1) << 16)
#define SQZ_TEXT_A_BYTE UINT32_C(64)
#define SQZ_FREE_DELTA UINT64_C(4096)
#define SQZ_DELTA_BYTES_A_BYTE UINT64_C(4)

#endif
