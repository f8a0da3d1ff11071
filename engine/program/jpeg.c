/* Decodes a JPEG as Pillow does: slow integer DCT, smooth upsampling, CMYK as Adobe writes it. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "picture.h"

#define SCANS 1200000000 /* pixels of all scans together */
enum { JUNK = 65536 };   /* bytes between segments */

/* The metadata that matter. */
typedef struct {
    uint8_t *exif; /* of all segments, in `exif_bytes` */
    size_t exif_bytes;
    const uint8_t *xmp;
    size_t xmp_bytes;
} metadata;

/* The next segment from `*at` on: its marker, or 0 at the first scan or the end. `*begin` and `*at` get its limits. */
static int next_segment(const uint8_t *file, size_t bytes, size_t *begin, size_t *at, size_t *junk)
{
    while (*at + 4 <= bytes && *junk <= JUNK) {
        const uint8_t *head = file + *at;
        if (head[0] != 0xff || head[1] <= 0x01 || head[1] == 0xff || (head[1] >= 0xd0 && head[1] <= 0xd8)) {
            *at += head[0] != 0xff || head[1] == 0xff ? 1 : 2;
            ++*junk;
            continue;
        }
        if (head[1] == 0xd9 || head[1] == 0xda) return 0;
        const size_t length = (size_t)head[2] << 8 | head[3];
        *begin = *at;
        *at += 2 + (length > 2 ? length : 2);
        if (*at > bytes) *at = bytes;
        return head[1];
    }
    return 0;
}

/* EXIF and XMP before the first scan. Metadata of more than IMAGE_METADATA bytes are left out, but for the first
 * EXIF_BYTES of those segments that EXIF and XMP use. */
static int find_metadata(const uint8_t *file, size_t bytes, metadata *m)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/";
    size_t begin = 0, at = 2, junk = 0, total = 0, kept = 0;
    for (int marker; (marker = next_segment(file, bytes, &begin, &at, &junk)) != 0;)
        if ((marker >= 0xe0 && marker <= 0xef && marker != 0xee) || marker == 0xfe) total += at - begin;
    memset(m, 0, sizeof *m);
    if ((m->exif = malloc(IMAGE_METADATA + EXIF_BYTES)) == NULL) return 0;
    junk = 0;
    at = 2;
    for (int marker; (marker = next_segment(file, bytes, &begin, &at, &junk)) != 0;) {
        if (marker != 0xe1) continue;
        kept += at - begin;
        if (total > IMAGE_METADATA && kept > EXIF_BYTES) continue;
        const uint8_t *data = file + begin + 4;
        const size_t length = at - begin > 4 ? at - begin - 4 : 0;
        if (length >= 6 && memcmp(data, "Exif\0", 6) == 0) {
            const size_t skipped = m->exif_bytes == 0 ? 0 : 6;
            memcpy(m->exif + m->exif_bytes, data + skipped, length - skipped);
            m->exif_bytes += length - skipped;
        } else if (length >= sizeof xmp && memcmp(data, xmp, sizeof xmp) == 0) {
            m->xmp = data + sizeof xmp;
            m->xmp_bytes = length - sizeof xmp;
        }
    }
    return 1;
}

typedef struct {
    struct jpeg_error_mgr manager;
    jmp_buf failed;
    char message[JMSG_LENGTH_MAX];
} jpeg_errors;

static void fail(j_common_ptr jpeg)
{
    jpeg_errors *errors = (jpeg_errors *)(void *)jpeg->err;
    errors->manager.format_message(jpeg, errors->message);
    longjmp(errors->failed, 1);
}

static void ignore(j_common_ptr jpeg)
{
    (void)jpeg;
}

static void nothing(j_decompress_ptr jpeg)
{
    (void)jpeg;
}

/* The whole file is in memory: after its end there is nothing. */
static boolean no_more(j_decompress_ptr jpeg)
{
    (void)jpeg;
    return FALSE;
}

static void skip(j_decompress_ptr jpeg, long count)
{
    struct jpeg_source_mgr *source = jpeg->src;
    const size_t skipped = count <= 0                                ? 0
                           : (size_t)count < source->bytes_in_buffer ? (size_t)count
                                                                     : source->bytes_in_buffer;
    source->next_input_byte += skipped;
    source->bytes_in_buffer -= skipped;
}

/* Bytes of the coefficients, if they are all in memory at once. 0 after a failure, for which there is an error. */
static uint64_t coefficients(picture *p, const struct jpeg_decompress_struct *jpeg, const uint8_t *file, size_t bytes)
{
    const uint64_t pixels = (uint64_t)jpeg->image_width * jpeg->image_height;
    uint64_t scans = 0, sampled = 0, across = 1, down = 1;
    if (jpeg->comps_in_scan == jpeg->num_components && !jpeg->progressive_mode) return 0;
    for (size_t i = 0; i + 1 < bytes; i++) scans += file[i] == 0xff && file[i + 1] == 0xda;
    if (scans * pixels > SCANS)
        picture_fail(p, "%u scans of %u x %u pixels are over the limit of %d pixels; save the image again",
                     (unsigned)scans, jpeg->image_width, jpeg->image_height, SCANS);
    for (int i = 0; i < jpeg->num_components; i++) {
        const uint64_t h = (uint64_t)jpeg->comp_info[i].h_samp_factor, v = (uint64_t)jpeg->comp_info[i].v_samp_factor;
        sampled += h * v;
        across = h > across ? h : across;
        down = v > down ? v : down;
    }
    return 2 * (pixels * sampled / (across * down));
}

/* CMYK, stored inverted -> RGB, rounded as Pillow does. */
static void from_cmyk(uint8_t *row, uint32_t width)
{
    for (uint32_t x = 0; x < width; x++)
        for (int c = 0; c < 3; c++) {
            const uint32_t key = row[4 * x + 3], product = (uint32_t)(255 - row[4 * x + (uint32_t)c]) * key + 128;
            row[3 * x + (uint32_t)c] = (uint8_t)(key - (((product >> 8) + product) >> 8));
        }
}

static int truncated(picture *p)
{
    picture_fail(p, "damaged image (image file is truncated)");
    return 0;
}

/* Decode all rows; the header was read, the limits were checked. */
static void decode(picture *p, j_decompress_ptr jpeg, uint32_t orientation)
{
    const int grey = jpeg->num_components == 1, cmyk = jpeg->num_components == 4;
    jpeg->out_color_space = grey ? JCS_GRAYSCALE : cmyk ? JCS_CMYK : JCS_RGB;
    if (!jpeg_start_decompress(jpeg)) {
        truncated(p);
        return;
    }
    const picture_facts facts = {jpeg->output_width, jpeg->output_height, grey ? 1 : 3, grey ? 1 : 4, cmyk,
                                 orientation};
    if (!picture_begin(p, &facts)) return;
    if ((p->line = malloc((size_t)facts.width * 4)) == NULL) {
        picture_fail(p, "not enough memory to decode it");
        return;
    }
    while (jpeg->output_scanline < jpeg->output_height) {
        if (jpeg_read_scanlines(jpeg, &p->line, 1) != 1) {
            truncated(p);
            return;
        }
        if (cmyk) from_cmyk(p->line, facts.width);
        picture_row(p, p->line);
    }
    picture_end(p);
}

/* Read the header and check the limits: a large image is decoded at a fraction of its size. */
static int begin(picture *p, j_decompress_ptr jpeg, const uint8_t *file, size_t bytes)
{
    if (jpeg_read_header(jpeg, TRUE) != JPEG_HEADER_OK) return truncated(p);
    const uint32_t width = jpeg->image_width, height = jpeg->image_height, stored = jpeg->num_components == 1 ? 1 : 4;
    if (jpeg->num_components == 2 || jpeg->num_components > 4) {
        picture_fail(p, "damaged image (cannot handle %d-layer images)", jpeg->num_components);
        return 0;
    }
    const uint64_t held = UINT64_C(36) * width + coefficients(p, jpeg, file, bytes);
    uint32_t factor = 1;
    while (factor < 8 && held + picture_canvas(stored, width / factor, height / factor) > IMAGE_MEMORY) factor *= 2;
    jpeg->scale_num = 1;
    jpeg->scale_denom = factor;
    return p->error[0] == '\0' && picture_allowed(p, width, height, factor, stored, held);
}

void picture_from_jpeg(picture *p, const uint8_t *file, size_t bytes)
{
    struct jpeg_decompress_struct jpeg;
    struct jpeg_source_mgr source = {file, bytes, nothing, no_more, skip, jpeg_resync_to_restart, nothing};
    jpeg_errors errors;
    metadata found;
    if (!find_metadata(file, bytes, &found)) {
        picture_fail(p, "not enough memory to decode it");
        return;
    }
    const uint32_t orientation =
        picture_orientation(found.exif_bytes > 0 ? found.exif : NULL, found.exif_bytes, found.xmp, found.xmp_bytes);
    free(found.exif);
    jpeg.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = fail;
    errors.manager.output_message = ignore;
    if (setjmp(errors.failed) != 0)
        picture_fail(p, "damaged image (%s)", errors.message);
    else {
        jpeg_create_decompress(&jpeg);
        jpeg.src = &source;
        if (begin(p, &jpeg, file, bytes)) decode(p, &jpeg, orientation);
    }
    jpeg_destroy_decompress(&jpeg);
}
