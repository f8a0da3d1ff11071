/* SHA-256 (FIPS 180-4): the digest of bytes that come in pieces. */
#ifndef SQZ_SHA256_H
#define SQZ_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t state[8];
    uint64_t bytes; /* that were taken */
    uint8_t block[64];
} sqz_sha256;

void sqz_sha256_start(sqz_sha256 *s);
void sqz_sha256_take(sqz_sha256 *s, const uint8_t *bytes, size_t count);
void sqz_sha256_end(sqz_sha256 *s, uint8_t digest[32]);

#endif
