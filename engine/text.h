/* The text of a file: Lempel-Ziv matches over symbol streams (docs/FORMAT.md, "Text"). */
#ifndef SQZ_TEXT_H
#define SQZ_TEXT_H

#include "cursor.h"

/* The length of the text that begins at the cursor, in bytes. */
size_t sqz_text_length(sqz_cursor *c);

/* Decompress the text. It is as long as sqz_text_length says. */
int sqz_text_unpack(sqz_cursor c, uint8_t *text);

#endif
