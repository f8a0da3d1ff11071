/* What a tool gives to board.c, and what board.c gives to it. */
#ifndef TOOL_H
#define TOOL_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const uint8_t image[]; /* as the network's input is stored: image.c, written by embedded.py */
extern const uint32_t image_bytes;

void begin(void);    /* all that is done once */
void classify(void); /* from the image in flash to the logits */
void finish(void);   /* tells the logits: `logit N` lines; not counted */

void told(const char *name, uint64_t value);
_Noreturn void failed(const char *why);

#ifdef __cplusplus
}
#endif
#endif
