/* Takes the rows of a decoded image, turns it upright, and resizes it for a network. The limits, and what an image
 * becomes, are those of Python (`squeezenet/runtime`). */
#ifndef SQZ_PICTURE_H
#define SQZ_PICTURE_H

#include "sqz.h"

enum {
    IMAGE_MEMORY = 280000000, /* bytes for decoding an image, as Pillow would need them */
    IMAGE_PIXELS = 150000000,
    IMAGE_FILE = 256000000,
    IMAGE_METADATA = 250000, /* bytes; of more, only the first EXIF_BYTES of EXIF are read */
    EXIF_BYTES = 1 << 17,
    MESSAGE = 200 /* bytes of an error */
};

typedef struct {
    const sqz_preparation *preparation;
    uint8_t *pixels;     /* what the network reads, before it is normalised */
    char error[MESSAGE]; /* "" if there was none */
    /* Only picture.c knows the rest. */
    uint32_t width, height, samples; /* bytes of a pixel: 1 (grey) or 3 */
    uint32_t factor, row, orientation;
    sqz_box part;
    void *resizer;
    uint8_t *line;  /* of a decoder: freed by picture_free */
    uint8_t *kept;  /* pixels of an image that must be turned or averaged */
    uint32_t *sums; /* of the rows that are averaged */
} picture;

/* What is known of an image before its pixels. */
typedef struct {
    uint32_t width, height, samples;
    uint32_t stored;      /* bytes of a pixel in Pillow's memory, before it is converted */
    int converted;        /* whether Pillow would make a converted copy */
    uint32_t orientation; /* 1 to 8 of EXIF; others are upright */
} picture_facts;

void picture_fail(picture *p, const char *format, ...);

/* Bytes of an image in Pillow's memory. */
uint64_t picture_canvas(uint32_t stored, uint32_t width, uint32_t height);

/* Check the limits of an image that is decoded at 1 / `factor` of its size; `held`: bytes that decoding needs in
 * addition to the image. Returns whether it may be decoded. */
int picture_allowed(picture *p, uint32_t width, uint32_t height, uint32_t factor, uint32_t stored, uint64_t held);

int picture_begin(picture *p, const picture_facts *facts); /* 0 after a failure */
void picture_row(picture *p, const uint8_t *row);          /* all rows, from top to bottom */
void picture_end(picture *p);                              /* `pixels` are complete */
void picture_free(picture *p);

/* The orientation in EXIF, or in XMP if EXIF has none; 1 is upright. Either may be NULL. */
uint32_t picture_orientation(const uint8_t *exif, size_t exif_bytes, const uint8_t *xmp, size_t xmp_bytes);

/* The decoders. They end with picture_end, or with an error. */
void picture_from_jpeg(picture *p, const uint8_t *file, size_t bytes);
void picture_from_png(picture *p, const uint8_t *file, size_t bytes);

#endif
