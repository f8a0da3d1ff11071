/* The text of a file: Lempel-Ziv matches over symbol streams (docs/FORMAT.md, "Text"). */
#ifndef SQZ_TEXT_H
#define SQZ_TEXT_H

#include "cursor.h"

/* Bytes of the text that begins here. */
size_t sqz_text_length(sqz_cursor *c);

/* Write the text, which is as long as sqz_text_length says. */
int sqz_text_unpack(sqz_cursor c, uint8_t *text);

#endif
