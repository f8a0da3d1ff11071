#include "picture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAND = 16 }; /* rows that are turned at once */

void picture_fail(picture *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->error, sizeof p->error, format, arguments);
    va_end(arguments);
}

uint64_t picture_canvas(uint32_t stored, uint32_t width, uint32_t height)
{
    return height * (8 + ((uint64_t)width * stored + 3) / 4 * 4);
}

int picture_allowed(picture *p, uint32_t width, uint32_t height, uint32_t factor, uint32_t stored, uint64_t held)
{
    const uint64_t needed = held + picture_canvas(stored, width / factor, height / factor);
    if (width == 0 || height == 0)
        picture_fail(p, "an image of %u x %u has no pixels", width, height);
    else if ((uint64_t)width * height > IMAGE_PIXELS)
        picture_fail(p, "%u x %u pixels are over the limit of %d; scale the image down first", width, height,
                     IMAGE_PIXELS);
    else if (needed > IMAGE_MEMORY)
        picture_fail(p, "decoding %u x %u pixels takes %u MB, over the limit of %d MB; scale the image down first",
                     width, height, (unsigned)(needed / 1000000), IMAGE_MEMORY / 1000000);
    return p->error[0] == '\0';
}

static int sideways(uint32_t orientation)
{
    return orientation >= 5 && orientation <= 8;
}

static int begin_resizing(picture *p, uint32_t width, uint32_t height)
{
    const size_t bytes = sqz_resize_memory(p->preparation, width, height, p->samples);
    if (bytes == 0 || (p->resizer = malloc(bytes)) == NULL) {
        picture_fail(p, "not enough memory to decode it");
        return 0;
    }
    p->part = sqz_resize_start(p->preparation, width, height, p->samples, p->pixels, p->resizer);
    return 1;
}

/* The factor by which an image that is converted or turned is made smaller, so that both fit into memory. */
static uint32_t factor_of(const picture_facts *f)
{
    const uint64_t first = picture_canvas(f->stored, f->width, f->height);
    const uint64_t left = first < IMAGE_MEMORY ? IMAGE_MEMORY - first : 0;
    const uint64_t room = left > IMAGE_MEMORY / 8 ? left : IMAGE_MEMORY / 8;
    const uint32_t least = f->width < f->height ? f->width : f->height;
    uint32_t factor = 1;
    while (picture_canvas(f->samples == 1 ? 1 : 4, f->width / factor, f->height / factor) > room && factor < least)
        factor++;
    return factor;
}

int picture_begin(picture *p, const picture_facts *f)
{
    const int turned = f->orientation >= 2 && f->orientation <= 8;
    p->factor = turned || f->converted ? factor_of(f) : 1;
    p->samples = f->samples;
    p->orientation = turned ? f->orientation : 1;
    p->width = f->width;
    p->height = f->height;
    p->row = 0;
    if (!turned && p->factor == 1) return begin_resizing(p, f->width, f->height);
    const size_t row = (size_t)((f->width + p->factor - 1) / p->factor) * f->samples;
    p->kept = malloc(row * ((f->height + p->factor - 1) / p->factor));
    if (p->factor > 1) p->sums = calloc(row, sizeof *p->sums);
    if (p->kept != NULL && (p->factor == 1 || p->sums != NULL)) return 1;
    picture_fail(p, "not enough memory to decode it");
    return 0;
}

/* 2^24 / n, as Pillow rounds it. */
static uint32_t reciprocal(uint32_t n)
{
    return (uint32_t)(4294967296.0F / (float)(256 * n));
}

/* Add a row to the sums; the last row of a block makes a row of means. */
static void average(picture *p, const uint8_t *row)
{
    const uint32_t small = (p->width + p->factor - 1) / p->factor, rows = p->row % p->factor + 1;
    for (uint32_t x = 0; x < p->width; x++)
        for (uint32_t c = 0; c < p->samples; c++) p->sums[x / p->factor * p->samples + c] += row[x * p->samples + c];
    if (rows < p->factor && p->row + 1 < p->height) return;
    uint8_t *out = p->kept + (size_t)(p->row / p->factor) * small * p->samples;
    for (uint32_t i = 0; i < small; i++) {
        const uint32_t left = p->width - i * p->factor, count = rows * (left < p->factor ? left : p->factor);
        for (uint32_t c = 0; c < p->samples; c++) {
            uint32_t *sum = p->sums + i * p->samples + c;
            *out++ = (uint8_t)(((*sum + count / 2) * reciprocal(count)) >> 24);
            *sum = 0;
        }
    }
}

void picture_row(picture *p, const uint8_t *row)
{
    if (p->kept == NULL) {
        if (p->row >= p->part.top && p->row < p->part.bottom)
            sqz_resize_row(p->resizer, row + (size_t)p->part.left * p->samples);
    } else if (p->factor > 1)
        average(p, row);
    else
        memcpy(p->kept + (size_t)p->row * p->width * p->samples, row, (size_t)p->width * p->samples);
    p->row++;
}

static void copy_pixel(uint8_t *to, const uint8_t *from, uint32_t samples)
{
    to[0] = from[0];
    if (samples == 1) return;
    to[1] = from[1];
    to[2] = from[2];
}

/* `count` rows of the upright image, from `first` on. Orientations 5 to 8 turn rows into columns; 2, 3, 7 and 8 mirror
 * the rows of the file, and 3, 4, 6 and 7 its columns. */
static void turn(const picture *p, uint32_t width, uint32_t height, uint32_t first, uint32_t count, uint8_t *rows)
{
    const uint32_t o = p->orientation, samples = p->samples;
    const int mirrored = o == 2 || o == 3 || o == 7 || o == 8, reversed = o == 3 || o == 4 || o == 6 || o == 7;
    const uint32_t along = sideways(o) ? height : width;
    for (uint32_t i = 0; i < along; i++)
        for (uint32_t j = 0; j < count; j++) {
            uint32_t x = sideways(o) ? first + j : i, y = sideways(o) ? i : first + j;
            if (mirrored) x = width - 1 - x;
            if (reversed) y = height - 1 - y;
            copy_pixel(rows + ((size_t)j * along + i) * samples, p->kept + ((size_t)y * width + x) * samples, samples);
        }
}

void picture_end(picture *p)
{
    if (p->kept == NULL) return;
    const uint32_t width = (p->width + p->factor - 1) / p->factor, height = (p->height + p->factor - 1) / p->factor;
    const uint32_t wide = sideways(p->orientation) ? height : width, tall = sideways(p->orientation) ? width : height;
    if (!begin_resizing(p, wide, tall)) return;
    uint8_t *rows = malloc((size_t)BAND * wide * p->samples);
    if (rows == NULL) {
        picture_fail(p, "not enough memory to decode it");
        return;
    }
    for (uint32_t y = p->part.top; y < p->part.bottom; y += BAND) {
        const uint32_t count = p->part.bottom - y < BAND ? p->part.bottom - y : BAND;
        turn(p, width, height, y, count, rows);
        for (uint32_t i = 0; i < count; i++)
            sqz_resize_row(p->resizer, rows + ((size_t)i * wide + p->part.left) * p->samples);
    }
    free(rows);
}

void picture_free(picture *p)
{
    free(p->resizer);
    free(p->kept);
    free(p->sums);
    free(p->line);
    p->line = NULL;
    p->resizer = NULL;
    p->kept = NULL;
    p->sums = NULL;
}
