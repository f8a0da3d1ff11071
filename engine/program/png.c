/* Decodes a PNG as Python's path does: 8 bits of each channel, transparent pixels on white. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "picture.h"

enum { TEXT_BYTES = 1 << 20 }; /* of an unpacked chunk */

/* How the pixels of a file become grey or RGB. */
typedef struct {
    uint32_t width, height, bits;
    int type;                 /* PNG_COLOR_TYPE_... */
    int keyed;                /* whether a colour is transparent */
    uint32_t key[3];          /* this colour */
    uint8_t palette[256 * 3]; /* on white */
} format;

/* A channel with an opacity, on white, rounded as Pillow does. */
static uint8_t on_white(uint32_t value, uint32_t alpha)
{
    const uint32_t sum = value * alpha * 128 + 255 * (255 - alpha) * 128 + (0x80 << 7);
    return alpha == 0 ? 255 : (uint8_t)((((sum >> 8) + sum) >> 8) >> 7);
}

static void grey_row(const format *f, const uint8_t *in, uint8_t *out)
{
    const uint32_t factor = f->bits < 8 ? 255 / ((1U << f->bits) - 1) : 1;
    for (uint32_t x = 0; x < f->width; x++) {
        uint32_t level = in[x];
        if (f->bits == 16) {
            level = in[2 * x];
            out[x] = f->keyed && (level << 8 | in[2 * x + 1]) == f->key[0] ? 255 : (uint8_t)level;
        } else
            out[x] = f->keyed && level == f->key[0] ? 255 : (uint8_t)(level * factor);
    }
}

/* Colours, and grey with an opacity. */
static void colour_row(const format *f, const uint8_t *in, uint8_t *out)
{
    const uint32_t colours = f->type & PNG_COLOR_MASK_COLOR ? 3 : 1;
    const uint32_t step = colours + (f->type & PNG_COLOR_MASK_ALPHA ? 1 : 0);
    for (uint32_t x = 0; x < f->width; x++, in += step, out += 3) {
        const uint8_t rgb[3] = {in[0], in[colours / 2], in[colours - 1]};
        if (f->type & PNG_COLOR_MASK_ALPHA)
            for (int c = 0; c < 3; c++) out[c] = on_white(rgb[c], in[colours]);
        else if (f->keyed && rgb[0] == f->key[0] && rgb[1] == f->key[1] && rgb[2] == f->key[2])
            memset(out, 255, 3);
        else
            memcpy(out, rgb, 3);
    }
}

static void palette_row(const format *f, const uint8_t *in, uint8_t *out)
{
    for (uint32_t x = 0; x < f->width; x++) memcpy(out + 3 * (size_t)x, f->palette + 3 * in[x], 3);
}

static void convert(const format *f, const uint8_t *in, uint8_t *out)
{
    (f->type == PNG_COLOR_TYPE_GRAY      ? grey_row
     : f->type == PNG_COLOR_TYPE_PALETTE ? palette_row
                                         : colour_row)(f, in, out);
}

/* Bytes of chunks that pixels do not depend on. */
static size_t metadata_bytes(const uint8_t *file, size_t bytes)
{
    size_t total = 0;
    for (size_t at = 8; at + 8 <= bytes;) {
        const uint8_t *head = file + at;
        const size_t length = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        const size_t end = length + 12 < bytes - at ? at + length + 12 : bytes;
        int needed = 0;
        for (const char *name = "IHDRPLTEtRNSIDATIEND"; *name != '\0'; name += 4)
            needed |= memcmp(head + 4, name, 4) == 0;
        total += needed ? 0 : end - at;
        at = end;
    }
    return total;
}

/* The orientation in what libpng has read. */
static uint32_t orientation_of(png_structp png, png_infop info)
{
    png_bytep exif = NULL;
    png_uint_32 exif_bytes = 0;
    png_textp texts;
    const uint8_t *xmp = NULL;
    uint8_t *raw = NULL;
    size_t xmp_bytes = 0;
    if (!png_get_eXIf_1(png, info, &exif_bytes, &exif)) exif = NULL;
    const int count = png_get_text(png, info, &texts, NULL);
    for (int i = 0; i < count; i++) {
        const size_t length = texts[i].compression > 0 ? texts[i].itxt_length : texts[i].text_length;
        if (strcmp(texts[i].key, "XML:com.adobe.xmp") == 0) {
            xmp = (const uint8_t *)texts[i].text;
            xmp_bytes = length;
        }
        if (strcmp(texts[i].key, "Raw profile type exif") == 0 && exif == NULL && (raw = malloc(length + 1)) != NULL) {
            const char *text = texts[i].text, *end = text + length; /* hexadecimal digits after three lines */
            for (int lines = 0; text < end && lines < 3; text++) lines += *text == '\n';
            for (unsigned value = 1; text < end; text++) {
                static const char digits[] = "0123456789abcdef0123456789ABCDEF";
                const char *digit = *text == '\0' ? NULL : strchr(digits, *text);
                if (digit == NULL) continue;
                value = value << 4 | (unsigned)((digit - digits) & 15);
                if (value < 256) continue;
                raw[exif_bytes++] = (uint8_t)value;
                value = 1;
            }
            exif = raw;
        }
    }
    const uint32_t found = picture_orientation(exif, exif_bytes, xmp, xmp_bytes);
    free(raw);
    return found;
}

/* What the header says about the pixels. */
static void describe(png_structp png, png_infop info, format *f)
{
    png_colorp colours = NULL;
    png_bytep alphas = NULL;
    png_color_16p colour = NULL;
    int count = 0, transparent = 0;
    memset(f, 0, sizeof *f);
    f->width = png_get_image_width(png, info);
    f->height = png_get_image_height(png, info);
    f->bits = png_get_bit_depth(png, info);
    f->type = png_get_color_type(png, info);
    const int keyed = png_get_tRNS(png, info, &alphas, &transparent, &colour) != 0;
    if (f->type == PNG_COLOR_TYPE_PALETTE) {
        png_get_PLTE(png, info, &colours, &count);
        for (int i = 0; i < 256; i++) {
            const uint32_t alpha = keyed && i < transparent ? alphas[i] : 255;
            const uint8_t grey = (uint8_t)i,
                          rgb[3] = {i < count ? colours[i].red : grey, i < count ? colours[i].green : grey,
                                    i < count ? colours[i].blue : grey};
            for (int c = 0; c < 3; c++) f->palette[3 * i + c] = on_white(rgb[c], alpha);
        }
    } else if (keyed && !(f->type & PNG_COLOR_MASK_ALPHA)) {
        const unsigned shift = f->bits == 16 ? 8 : 0;
        f->keyed = 1;
        if (f->type == PNG_COLOR_TYPE_GRAY)
            f->key[0] = colour->gray;
        else {
            f->key[0] = (uint32_t)(colour->red >> shift) & 255;
            f->key[1] = (uint32_t)(colour->green >> shift) & 255;
            f->key[2] = (uint32_t)(colour->blue >> shift) & 255;
        }
    }
}

typedef struct {
    const uint8_t *at, *end;
} source;

static void read_some(png_structp png, png_bytep out, size_t count)
{
    source *s = png_get_io_ptr(png);
    if (count > (size_t)(s->end - s->at)) png_error(png, "image file is truncated");
    memcpy(out, s->at, count);
    s->at += count;
}

static void fail(png_structp png, png_const_charp message)
{
    picture_fail(png_get_error_ptr(png), "damaged image (%s)", message);
    png_longjmp(png, 1);
}

static void ignore(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* Metadata may follow the pixels, and the orientation may be among them: all rows are read before the first is used. */
static void decode(picture *p, png_structp png, png_infop info, int strip)
{
    static const png_byte unused[] = "iCCP\0sPLT\0hIST\0pCAL\0sCAL";
    static const png_byte texts[] = "tEXt\0zTXt\0iTXt";
    format f;
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_malloc_max(png, TEXT_BYTES);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, unused, 5);
    if (strip) png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, texts, 3);
    png_read_info(png, info);
    describe(png, info, &f);
    const int grey = f.type == PNG_COLOR_TYPE_GRAY, palette = f.type == PNG_COLOR_TYPE_PALETTE;
    const uint32_t stored = palette || (grey && f.bits < 16) ? 1 : grey ? 2 : 4;
    if (!picture_allowed(p, f.width, f.height, 1, stored, UINT64_C(36) * f.width)) return;
    png_set_packing(png);
    if (!grey) {
        png_set_strip_16(png);
        f.bits = 8;
    }
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    const size_t row = png_get_rowbytes(png, info), out = (size_t)f.width * (grey ? 1 : 3);
    if ((p->line = malloc(row * f.height + out)) == NULL) {
        picture_fail(p, "not enough memory to decode it");
        return;
    }
    for (int pass = 0; pass < passes; pass++)
        for (uint32_t y = 0; y < f.height; y++) png_read_row(png, p->line + row * y, NULL);
    png_read_end(png, info);
    const int converted = f.keyed || palette || (f.type & PNG_COLOR_MASK_ALPHA) || (grey && f.bits != 8);
    const picture_facts facts = {f.width, f.height, grey ? 1 : 3, stored, converted, orientation_of(png, info)};
    if (!picture_begin(p, &facts)) return;
    for (uint32_t y = 0; y < f.height; y++) {
        convert(&f, p->line + row * y, p->line + row * f.height);
        picture_row(p, p->line + row * f.height);
    }
    picture_end(p);
}

void picture_from_png(picture *p, const uint8_t *file, size_t bytes)
{
    source s = {file, file + bytes};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, p, fail, ignore);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    if (info == NULL)
        picture_fail(p, "not enough memory to decode it");
    else if (setjmp(png_jmpbuf(png)) == 0) {
        png_set_read_fn(png, &s, read_some);
        decode(p, png, info, metadata_bytes(file, bytes) > IMAGE_METADATA);
    }
    png_destroy_read_struct(&png, &info, NULL);
}
