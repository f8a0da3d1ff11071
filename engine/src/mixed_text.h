/* The text of a file of version 2: predictions of each bit, mixed (docs/FORMAT.md, "Mixed text"). */
#ifndef SQZ_MIXED_TEXT_H
#define SQZ_MIXED_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of working memory. It must be aligned as malloc aligns, and need not be cleared. */
size_t sqz_mixed_text_memory(void);

/* Decode `size` bytes, which must be one whole stream, to `length` bytes of text. */
int sqz_mixed_text_decode(const uint8_t *bytes, size_t size, uint8_t *text, size_t length, void *memory);

/* Encode to `bytes`; if `bytes` is NULL, only count. `*size`: bytes of room before the call, of the stream after it. */
int sqz_mixed_text_encode(const uint8_t *text, size_t length, uint8_t *bytes, size_t *size, void *memory);

#endif
