/* Functions that are instructions of WebAssembly, and those of functions.c. */
#ifndef MATH_H
#define MATH_H

#define ceil __builtin_ceil
#define floor __builtin_floor
#define fabs __builtin_fabs
#define fabsf __builtin_fabsf
#define sqrt __builtin_sqrt
#define INFINITY __builtin_inff()

float expf(float x);
float expm1f(float x);
float log1pf(float x);
float powf(float x, float y);
float tanhf(float x);
float erff(float x);

#endif
