/* The text of a file (docs/FORMAT.md, "Text"). */
#ifndef SQZ_TEXT_H
#define SQZ_TEXT_H

#include "cursor.h"

/* The length of the text that begins at the cursor, in bytes. `version`: that of the file. */
size_t sqz_text_length(sqz_cursor *c, uint32_t version);

/* Bytes of working memory that sqz_text_unpack needs. */
size_t sqz_text_memory(uint32_t version);

/* Decompress the text. It is as long as sqz_text_length says. */
int sqz_text_unpack(sqz_cursor c, uint32_t version, uint8_t *text, void *memory);

#endif
