/* Resizes and crops an image, row by row, to the same pixels as Pillow (docs/adr/0039-library.md).
 *
 * Bilinear with antialiasing: one pixel of the result is a weighted mean of a window of pixels. First the rows are
 * resized and rounded to 8 bits, then the columns. Pillow computes weights in double precision and rounds them to 22
 * bits after the point; sums are of integers. Only what the crop needs is computed. The newest rows are kept, as many as
 * a window has. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "resizer.h"

enum {
    LONGEST = 32768,    /* pixels of a side; a longer side is first averaged down to this */
    LARGEST = 16777216, /* pixels of the image after the first pass */
    STRIP = 32,         /* elements of a row of the result that are summed at once */
    ALIGNED = 64        /* bytes; every array begins at a multiple */
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

/* Half of a number, rounded to the nearest even number: Python's round(n / 2). */
static double halved(uint64_t n)
{
    return (double)(n / 2 + (n & n / 2 & 1));
}

/* The middle of a side of `length` pixels: `crop` of the `resized` pixels that the side would become. */
typedef struct {
    double first, last; /* pixels of the image */
} middle;

static middle middle_of(uint32_t length, uint64_t resized, uint32_t crop)
{
    const double before = halved(resized - crop), scale = (double)length / (double)resized;
    middle m = {before * scale, least((before + crop) * scale, length)};
    return m;
}

/* How many pixels are averaged. `other`: the crop of the other side. */
static uint32_t factor_of(middle m, uint32_t crop, uint32_t other)
{
    uint32_t longest = LARGEST / other < LONGEST ? LARGEST / other : LONGEST;
    if (longest < 2 * crop) longest = 2 * crop;
    const double factor = ceil((m.last - m.first) / longest);
    return factor > 1 ? (uint32_t)factor : 1;
}

/* A side. If an image is averaged, its sides are cut to whole pixels around the middle. */
static sqz_side side_of(middle m, uint32_t length, uint32_t factor, int averaged)
{
    sqz_side s = {0, length, 1, length, (float)m.first, (float)m.last, 0};
    if (averaged) {
        s.factor = factor;
        s.begin = (uint32_t)m.first;
        s.end = (uint32_t)ceil(m.last);
        s.size = (s.end - s.begin + factor - 1) / factor;
        s.from = (float)((m.first - s.begin) / factor);
        s.to = (float)least((m.last - s.begin) / factor, s.size);
    }
    return s;
}

/* Leave out rows that no window has, as a caller of Pillow does: the window's place is rounded without them. */
static void leave_out(sqz_side *y, uint32_t crop)
{
    const double from = (double)y->from, to = (double)y->to, scale = (to - from) / crop;
    const double reach = (scale > 1 ? scale : 1) + 1;
    y->skipped = from > reach ? (uint32_t)(from - reach) : 0;
    const double last = least(floor(to + reach) + 1, y->size);
    y->size = (uint32_t)last - y->skipped;
    y->from = (float)(from - y->skipped);
    y->to = (float)(to - y->skipped);
}

static double scale_of(const sqz_side *s, uint32_t size)
{
    return (double)(s->to - s->from) / size;
}

static uint32_t longest_window(double scale)
{
    return 2 * (uint32_t)ceil(scale > 1 ? scale : 1) + 1;
}

/* The first pixel of window `i`, with its number of pixels, the total of their weights, and its centre. No statement has
 * a product and then a sum, since a compiler could round both at once. */
static uint32_t window(const sqz_side *s, double scale, uint32_t i, uint32_t *count, double *total, double *centre)
{
    const double support = scale > 1 ? scale : 1, inverse = 1 / support, along = (i + 0.5) * scale;
    *centre = (double)s->from + along;
    const double before = *centre - support + 0.5, after = *centre + support + 0.5;
    const uint32_t first = before > 0 ? (uint32_t)before : 0;
    const uint32_t end = after < s->size ? (uint32_t)after : s->size;
    *count = first < end ? end - first : 0;
    *total = 0;
    for (uint32_t x = first; x < end; x++) {
        const double far = fabs(((double)x - *centre + 0.5) * inverse);
        *total += far < 1 ? 1 - far : 0;
    }
    return first < s->size ? first : s->size;
}

/* The weight of pixel `x` in the window around `centre`. */
static int32_t weight(double centre, double scale, double total, uint32_t x)
{
    const double inverse = 1 / (scale > 1 ? scale : 1);
    const double far = fabs(((double)x - centre + 0.5) * inverse);
    double share = far < 1 ? 1 - far : 0;
    if (total != 0) share /= total;
    share *= 1 << SQZ_WEIGHT_BITS;
    return (int32_t)(share + 0.5);
}

/* Windows and weights of one direction: as integers in `weights`, or in halves. */
static void plan(sqz_axis *a, const sqz_side *s, int32_t *weights, int16_t *low, int16_t *high)
{
    const double scale = scale_of(s, a->size);
    for (uint32_t i = 0; i < a->size; i++) {
        double total, centre;
        a->start[i] = window(s, scale, i, &a->count[i], &total, &centre);
        for (uint32_t x = 0; x < a->count[i]; x++) {
            const int32_t w = weight(centre, scale, total, a->start[i] + x);
            const size_t at = (size_t)i * a->most + x;
            if (weights != NULL)
                weights[at] = w;
            else {
                low[at] = (int16_t)(w & ((1 << SQZ_LOW_BITS) - 1));
                high[at] = (int16_t)(w >> SQZ_LOW_BITS);
            }
        }
    }
}

static void *take(uint8_t *memory, size_t *used, uint64_t bytes)
{
    void *taken = memory == NULL ? NULL : memory + *used;
    *used += (size_t)((bytes + ALIGNED - 1) / ALIGNED * ALIGNED);
    return taken;
}

/* Sizes of everything, and, if `memory` is not NULL, where it lies. Returns the bytes of memory. */
static size_t lay_out(sqz_resizer *r, const sqz_preparation *p, uint32_t width, uint32_t height, uint32_t samples,
                      uint8_t *memory)
{
    const uint32_t *resize = p->resize, tall = p->crop[0], wide = p->crop[1];
    uint64_t high = resize[0], across = resize[1];
    if (p->shorter && high * width >= across * height)
        across = width * high / height;
    else if (p->shorter)
        high = height * across / width;
    memset(r, 0, sizeof *r);
    const middle x = middle_of(width, across, wide), y = middle_of(height, high, tall);
    const uint32_t x_factor = factor_of(x, wide, tall), y_factor = factor_of(y, tall, wide);
    r->x = side_of(x, width, x_factor, x_factor * y_factor > 1);
    r->y = side_of(y, height, y_factor, x_factor * y_factor > 1);
    leave_out(&r->y, tall);
    r->samples = samples;
    r->outputs = p->channels == SQZ_L ? 1 : 3;
    r->planes = samples == 1 || r->outputs == 1 ? 1 : 3;
    r->across.size = wide;
    r->across.most = (longest_window(scale_of(&r->x, wide)) + SQZ_STEP - 1) / SQZ_STEP * SQZ_STEP;
    r->down.size = tall;
    r->down.most = longest_window(scale_of(&r->y, tall));
    const double used_width = (double)r->x.to - (double)r->x.from + 2.0 * r->across.most;
    r->room = (used_width < r->x.size ? (uint32_t)used_width : r->x.size) + r->across.most;
    if (r->room < r->x.factor) r->room = r->x.factor;
    const uint64_t taps = (uint64_t)wide * r->across.most, plane = r->room;
    size_t used = 0;
    take(memory, &used, sizeof *r);
    r->across.start = take(memory, &used, UINT64_C(4) * wide);
    r->across.count = take(memory, &used, UINT64_C(4) * wide);
    r->down.start = take(memory, &used, UINT64_C(4) * tall);
    r->down.count = take(memory, &used, UINT64_C(4) * tall);
    r->low = take(memory, &used, 2 * taps);
    r->high = take(memory, &used, 2 * taps);
    r->weights = take(memory, &used, UINT64_C(4) * tall * r->down.most);
    r->line = take(memory, &used, 2 * plane * r->planes);
    r->sums = take(memory, &used, r->x.factor * r->y.factor > 1 ? 4 * plane * r->planes : 0);
    r->rows = take(memory, &used, (uint64_t)r->down.most * wide * r->planes);
    return used;
}

/* `width` pixels, plane by plane; grey as Pillow computes it from colours. */
static void separate(const sqz_resizer *r, const uint8_t *row, uint32_t width)
{
    const uint32_t samples = r->samples;
    int16_t *line = r->line;
    if (samples == 1)
        for (uint32_t x = 0; x < width; x++) line[x] = row[x];
    else if (r->planes == 1)
        for (uint32_t x = 0; x < width; x++, row += samples)
            line[x] = (int16_t)((19595 * row[0] + 38470 * row[1] + 7471 * row[2] + 0x8000) >> 16);
    else {
        int16_t *restrict red = line, *restrict green = red + r->room, *restrict blue = green + r->room;
        if (samples == 3)
            for (uint32_t x = 0; x < width; x++) {
                red[x] = row[3 * x];
                green[x] = row[3 * x + 1];
                blue[x] = row[3 * x + 2];
            }
        else
            for (uint32_t x = 0; x < width; x++) {
                uint32_t pixel;
                memcpy(&pixel, row + 4 * x, 4);
                red[x] = (int16_t)(pixel & 255);
                green[x] = (int16_t)(pixel >> 8 & 255);
                blue[x] = (int16_t)(pixel >> 16 & 255);
            }
    }
}

static uint8_t rounded(int32_t sum)
{
    const int32_t value = sum >> SQZ_WEIGHT_BITS;
    return (uint8_t)(value > 255 ? 255 : value);
}

/* Sum of the products of a window and its weights, in two halves that wrap around; their combination does not. */
static int32_t product(const int16_t *line, const int16_t *low, const int16_t *high, uint32_t steps)
{
    uint32_t fine = 0, coarse = 0;
    for (uint32_t i = 0; i < SQZ_STEP * steps; i++) {
        fine += (uint32_t)(line[i] * low[i]);
        coarse += (uint32_t)(line[i] * high[i]);
    }
    return (int32_t)(fine + (coarse << SQZ_LOW_BITS));
}

static void resize_row(const sqz_resizer *r, uint8_t *row)
{
    const sqz_axis *a = &r->across;
    for (uint32_t i = 0; i < a->size; i++) {
        const size_t at = (size_t)i * a->most;
        const uint32_t steps = (a->count[i] + SQZ_STEP - 1) / SQZ_STEP;
        for (uint32_t c = 0; c < r->planes; c++) {
            const int16_t *line = r->line + (size_t)c * r->room + a->start[i];
            *row++ = rounded(product(line, r->low + at, r->high + at, steps) + (1 << (SQZ_WEIGHT_BITS - 1)));
        }
    }
}

/* Row `i` of the result from the newest rows. */
static void resize_columns(const sqz_resizer *r, uint32_t i)
{
    const sqz_axis *a = &r->down;
    const int32_t *weights = r->weights + (size_t)i * a->most;
    const uint32_t length = r->across.size * r->planes;
    uint8_t *out = r->pixels + (size_t)i * r->across.size * r->outputs;
    for (uint32_t x = 0; x < length; x += STRIP) {
        const uint32_t count = length - x < STRIP ? length - x : STRIP;
        int32_t sums[STRIP];
        for (uint32_t j = 0; j < STRIP; j++) sums[j] = 1 << (SQZ_WEIGHT_BITS - 1);
        for (uint32_t y = 0; y < a->count[i]; y++) {
            const uint8_t *row = r->rows + (size_t)((a->start[i] + y) % a->most) * length + x;
            const int32_t w = weights[y];
            if (count == STRIP)
                for (uint32_t j = 0; j < STRIP; j++) sums[j] += row[j] * w;
            else
                for (uint32_t j = 0; j < count; j++) sums[j] += row[j] * w;
        }
        if (r->planes == r->outputs)
            for (uint32_t j = 0; j < count; j++) out[x + j] = rounded(sums[j]);
        else
            for (uint32_t j = 0; j < count; j++) memset(out + (size_t)3 * (x + j), rounded(sums[j]), 3);
    }
}

size_t sqz_resize_memory(const sqz_preparation *preparation, uint32_t width, uint32_t height, uint32_t samples)
{
    sqz_resizer r;
    if (width == 0 || height == 0 || width > INT32_MAX || height > INT32_MAX ||
        (samples != 1 && samples != 3 && samples != 4))
        return 0;
    return lay_out(&r, preparation, width, height, samples, NULL);
}

sqz_box sqz_resize_start(const sqz_preparation *preparation, uint32_t width, uint32_t height, uint32_t samples,
                         uint8_t *pixels, void *memory)
{
    sqz_resizer *r = memory, planned;
    lay_out(&planned, preparation, width, height, samples, memory);
    *r = planned;
    r->loops = (sqz_resizing){separate, resize_row, resize_columns};
#ifdef SQZ_X86
    if (r->planes == 3 && sqz_has_path(SQZ_AVX2)) {
        r->loops = sqz_resizing_avx2;
        if (samples == 3) r->loops.separate = separate;
    }
#endif
    r->pixels = pixels;
    memset(r->low, 0, 2 * (size_t)r->across.size * r->across.most);
    memset(r->high, 0, 2 * (size_t)r->across.size * r->across.most);
    memset(r->line, 0, 2 * (size_t)r->room * r->planes);
    if (r->x.factor * r->y.factor > 1) memset(r->sums, 0, 4 * (size_t)r->room * r->planes);
    plan(&r->across, &r->x, NULL, r->low, r->high);
    plan(&r->down, &r->y, r->weights, NULL, NULL);
    /* Only the columns and rows that windows have. */
    const uint32_t left = r->across.start[0];
    const uint32_t right = r->across.start[r->across.size - 1] + r->across.count[r->across.size - 1];
    for (uint32_t i = 0; i < r->across.size; i++) r->across.start[i] -= left;
    const uint32_t top = r->down.start[0];
    const uint32_t bottom = r->down.start[r->down.size - 1] + r->down.count[r->down.size - 1];
    for (uint32_t i = 0; i < r->down.size; i++) r->down.start[i] -= top;
    sqz_box box = {r->x.begin + left * r->x.factor, r->y.begin + (r->y.skipped + top) * r->y.factor,
                   r->x.begin + right * r->x.factor, r->y.begin + (r->y.skipped + bottom) * r->y.factor};
    if (box.right > r->x.end) box.right = r->x.end;
    if (box.bottom > r->y.end) box.bottom = r->y.end;
    r->x.begin = box.left;
    r->x.end = box.right;
    r->y.begin = box.top;
    r->y.end = box.bottom;
    r->row = box.top;
    return box;
}

/* 2^24 / n, as Pillow rounds it. */
static uint32_t reciprocal(uint32_t n)
{
    return (uint32_t)(4294967296.0F / (float)(256 * n));
}

/* Add a row of pixels to the sums. After the last row of a block, `line` gets the means, and the result is 1. */
static int average(sqz_resizer *r, const uint8_t *row)
{
    const uint32_t width = r->x.end - r->x.begin, factor = r->x.factor, blocks = (width + factor - 1) / factor;
    const uint32_t most = r->room / factor * factor;
    for (uint32_t begin = 0; begin < width; begin += most) { /* as many pixels as `line` has room for */
        const uint32_t piece = width - begin < most ? width - begin : most;
        r->loops.separate(r, row + (size_t)begin * r->samples, piece);
        for (uint32_t c = 0; c < r->planes; c++) {
            const int16_t *line = r->line + (size_t)c * r->room;
            uint32_t *sum = r->sums + (size_t)c * r->room + begin / factor;
            for (uint32_t x = 0; x < piece; sum++) {
                const uint32_t end = piece - x < factor ? piece : x + factor;
                for (; x < end; x++) {
                    const int pixel = line[x];
                    *sum += (uint32_t)pixel;
                }
            }
        }
    }
    const uint32_t rows = (r->row - r->y.begin) % r->y.factor + 1;
    if (rows < r->y.factor && r->row + 1 < r->y.end) return 0;
    for (uint32_t i = 0; i < blocks; i++) {
        const uint32_t left = width - i * factor, count = rows * (left < factor ? left : factor);
        const uint32_t multiplier = reciprocal(count);
        for (uint32_t c = 0; c < r->planes; c++) {
            uint32_t *sum = r->sums + (size_t)c * r->room + i;
            r->line[(size_t)c * r->room + i] = (int16_t)(((*sum + count / 2) * multiplier) >> 24);
            *sum = 0;
        }
    }
    return 1;
}

void sqz_resize_row(void *memory, const uint8_t *row)
{
    sqz_resizer *r = memory;
    int whole = 1;
    if (r->x.factor * r->y.factor == 1)
        r->loops.separate(r, row, r->x.end - r->x.begin);
    else
        whole = average(r, row);
    r->row++;
    if (!whole) return;
    r->loops.row(r, r->rows + (size_t)(r->made % r->down.most) * r->across.size * r->planes);
    r->made++;
    while (r->next < r->down.size && r->down.start[r->next] + r->down.count[r->next] <= r->made)
        r->loops.columns(r, r->next++);
}
