/* The functions of float networks, in double precision: the same bits in every browser, unlike those of JavaScript.
 * Their results differ from the exact ones by at most one in the last place of a float. */
#include <math.h>
#include <stdint.h>

typedef union {
    double number;
    uint64_t bits;
} parts;

static const double ln2 = 0.693147180559945309417, infinity = __builtin_inf();

static double power_of_two(int exponent)
{
    const parts p = {.bits = (uint64_t)(1023 + exponent) << 52};
    return p.number;
}

/* e^x = 2^k * e^r with |r| <= ln(2) / 2; the series of e^r. */
static double exponential(double x)
{
    if (x != x) return x;
    if (x > 200) return infinity; /* more than a float holds */
    if (x < -200) return 0;
    const double k = floor(x / ln2 + 0.5), r = x - k * ln2;
    double sum = 1;
    for (int n = 14; n > 0; n--) sum = 1 + sum * r / n;
    return sum * power_of_two((int)k);
}

/* ln(x) = e * ln(2) + ln(m) with m between sqrt(1/2) and sqrt(2); ln(m) = 2 * atanh((m - 1) / (m + 1)). */
static double logarithm(double x)
{
    if (x <= 0) return x == 0 ? -infinity : -__builtin_nan("");
    if (x != x || x == infinity) return x;
    parts p = {.number = x};
    int exponent = (int)(p.bits >> 52) - 1023;
    p.bits = (p.bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    if (p.number > 1.4142135623730951) {
        p.number /= 2;
        exponent++;
    }
    const double s = (p.number - 1) / (p.number + 1), square = s * s;
    double sum = 0;
    for (int n = 21; n > 0; n -= 2) sum = sum * square + 1.0 / n;
    return exponent * ln2 + 2 * s * sum;
}

float expf(float x)
{
    return (float)exponential((double)x);
}

float expm1f(float x)
{
    const double y = (double)x;
    return fabs(y) < 1e-6 ? (float)(y + y * y / 2) : (float)(exponential(y) - 1);
}

float log1pf(float x)
{
    const double y = (double)x;
    return fabs(y) < 1e-6 ? (float)(y - y * y / 2) : (float)logarithm(1 + y);
}

/* A negative base has a power with a whole exponent only. */
float powf(float base, float exponent)
{
    const double x = (double)base, y = (double)exponent;
    if (y == 0 || x == 1) return 1;
    if (x >= 0 || x != x) return (float)exponential(y * logarithm(x));
    if (floor(y) != y) return __builtin_nanf("");
    const double magnitude = exponential(y * logarithm(-x));
    return (float)(floor(y / 2) * 2 == y ? magnitude : -magnitude);
}

float tanhf(float x)
{
    const double y = (double)x;
    if (fabs(y) < 1e-4) return (float)(y - y * y * y / 3);
    if (fabs(y) > 20) return y > 0 ? 1 : -1;
    const double square = exponential(2 * y);
    return (float)((square - 1) / (square + 1));
}

/* erf(x) = 2 / sqrt(pi) * e^(-x^2) * (x + 2 x^3 / 3 + 4 x^5 / 15 + ...), whose terms all have one sign. */
float erff(float x)
{
    const double y = (double)x, square = y * y;
    if (fabs(y) > 4) return y > 0 ? 1 : -1;
    double term = y, sum = y;
    for (int n = 1; n < 80; n++) {
        term *= 2 * square / (2 * n + 1);
        sum += term;
    }
    return (float)(1.1283791670955125739 * exponential(-square) * sum);
}
