/* Prints text from files and names of files, for terminals and as JSON. */
#ifndef SQZ_PROGRAM_TEXT_H
#define SQZ_PROGRAM_TEXT_H

#include <stdio.h>

void text_print(FILE *out, const char *text);      /* characters that control a terminal as escapes */
void text_print_json(FILE *out, const char *text); /* a string in ASCII, with its quotation marks */

/* A number with the digits that a reader needs to get the same bits. */
void text_print_number(FILE *out, double number);

#endif
