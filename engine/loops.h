/* Plain loops that a compiler turns into vectors. Each path includes them once, with its SQZ_TARGET. */
#include <string.h>

SQZ_TARGET static void maximum(uint8_t *restrict out, const uint8_t *restrict x, size_t n, size_t step, size_t count)
{
    memcpy(out, x, n);
    for (size_t row = 1; row < count; row++) {
        x += step;
        for (size_t i = 0; i < n; i++) out[i] = x[i] > out[i] ? x[i] : out[i];
    }
}

SQZ_TARGET static void total(int32_t *restrict sums, const uint8_t *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) sums[i] += x[i];
}

SQZ_TARGET static void weigh(int32_t *restrict sums, const uint8_t *restrict x, const int8_t *restrict weights,
                             int32_t zero, size_t n)
{
    for (size_t i = 0; i < n; i++) sums[i] += (x[i] - zero) * weights[i];
}

SQZ_TARGET static void add(uint8_t *restrict out, const uint8_t *restrict a, const uint8_t *restrict b,
                           const int32_t fraction[2], int32_t offset, size_t n)
{
    const int32_t first = fraction[0], second = fraction[1];
    for (size_t i = 0; i < n; i++) {
        const int32_t sum = (a[i] * first + b[i] * second + offset) >> 16;
        out[i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

/* Adding 1.5 x 2^23 leaves a float no bits for a fraction: it is rounded to nearest, halves to even. */
SQZ_TARGET static void enter(uint8_t *restrict out, const float *restrict pixels, float factor, int32_t zero, size_t n)
{
    const float shift = 12582912.0f, low = (float)-zero, high = (float)(255 - zero);
    for (size_t i = 0; i < n; i++) {
        float x = pixels[i] * factor;
        x = x > low ? x : low;
        x = x < high ? x : high;
        x += shift;
        out[i] = (uint8_t)((int32_t)(x - shift) + zero);
    }
}
