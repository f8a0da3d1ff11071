/* Applies and makes deltas (docs/FORMAT.md, "Deltas"). */
#include "delta.h"

#include "budget.h"
#include "delta_front.h"
#include "delta_walk.h"

enum {
    VERSION = 2,
    HASHES = 24,  /* where the hashes of both files begin */
    CHECKED = 16, /* the checksum covers the bytes from this offset on */
    WHOLE = 0,    /* kinds: the body is the new file; */
    LEVELS = 1    /* or what differs between the levels of both */
};

/* Bytes of each hash, the first ones of a SHA-256. */
static size_t hash_bytes(const uint8_t *delta)
{
    return delta[4] == 1 ? 32 : 16;
}

static int apply_levels(const uint8_t *old, size_t old_bytes, sqz_cursor body, int version, arena *a, output *o)
{
    part *old_parts, *parts;
    uint32_t old_count, count;
    uint8_t *front;
    size_t bytes;
    walk w;
    if (old_bytes < SQZ_FILE_HEADER) return SQZ_TRUNCATED;
    int status = sqz_delta_read_front(a, body, old, old_bytes, o->size, &front, &bytes);
    if (status == SQZ_OK) status = sqz_delta_parts(a, front, bytes, o->size, 0, &parts, &count);
    if (status == SQZ_OK) status = sqz_delta_parts(a, old, old_bytes, old_bytes, 1, &old_parts, &old_count);
    if (status != SQZ_OK) return status;
    const size_t needed = a->used + sqz_delta_parts_memory(old_parts, old_count, parts, count);
    if (needed > a->most) a->most = needed;
    if (needed > a->room) return SQZ_NO_ROOM;
    status = sqz_delta_write_front(&body, old, old_bytes, o->size, o);
    if (status != SQZ_OK) return status;
    memset(&w, 0, sizeof w);
    w.c = reader(body.at, (size_t)(body.end - body.at));
    w.way = READ;
    w.code_output = sqz_read_output;
    w.version = version;
    w.a = a;
    w.old_parts = old_parts;
    w.old_count = old_count;
    w.old_end = old + old_bytes;
    w.o = o;
    status = sqz_delta_code_parts(&w, parts, count);
    return status == SQZ_OK && end_of_reading(&w.c) != SQZ_OK ? SQZ_BAD_STREAM : status;
}

static int check_digest(const uint8_t *bytes, size_t count, const uint8_t *expected, size_t size)
{
    sqz_sha256 s;
    uint8_t digest[32];
    sqz_sha256_start(&s);
    sqz_sha256_take(&s, bytes, count);
    sqz_sha256_end(&s, digest);
    return memcmp(digest, expected, size) == 0;
}

static int check_delta(const uint8_t *delta, size_t bytes)
{
    static const uint8_t magic[4] = {0x89, 'S', 'Q', 'D'};
    if (bytes == 0 || memcmp(delta, magic, bytes < sizeof magic ? bytes : sizeof magic) != 0) return SQZ_NOT_DELTA;
    if (bytes < HASHES) return SQZ_TRUNCATED;
    if (delta[4] == 0 || delta[4] > VERSION || delta[5] > LEVELS || delta[6] != 0 || delta[7] != 0) return SQZ_VERSION;
    if (bytes < HASHES + 2 * hash_bytes(delta)) return SQZ_TRUNCATED;
    if (sqz_little(delta + 8) != bytes) return sqz_little(delta + 8) > bytes ? SQZ_TRUNCATED : SQZ_TRAILING;
    if (sqz_crc32(0, delta + CHECKED, bytes - CHECKED) != sqz_little(delta + 12)) return SQZ_CHECKSUM;
    const uint64_t old = sqz_little(delta + 16), made = sqz_little(delta + 20);
    return old > SQZ_MAX_MODEL_FILE || made > SQZ_MAX_MODEL_FILE ||
                   made > SQZ_DELTA_BYTES_A_BYTE * (old + bytes) + SQZ_FREE_DELTA
               ? SQZ_LIMIT
               : SQZ_OK;
}

int sqz_delta_apply(const uint8_t *old, size_t old_bytes, const uint8_t *delta, size_t delta_bytes, void *memory,
                    size_t *room, sqz_write write, void *context)
{
    arena a = {memory, *room, 0, 0};
    output o = {write, context, {{0}, 0, {0}}, 0, 0};
    uint8_t digest[32];
    int status = check_delta(delta, delta_bytes);
    if (status != SQZ_OK) return status;
    const size_t hash = hash_bytes(delta), header = HASHES + 2 * hash;
    if (sqz_little(delta + 16) != old_bytes || !check_digest(old, old_bytes, delta + HASHES, hash))
        return SQZ_WRONG_OLD;
    o.size = sqz_little(delta + 20);
    sqz_sha256_start(&o.digest);
    const sqz_cursor body = {delta + header, delta + delta_bytes, SQZ_OK};
    if (delta[5] == WHOLE)
        status = emit(&o, body.at, delta_bytes - header);
    else
        status = apply_levels(old, old_bytes, body, delta[4], &a, &o);
    *room = a.most;
    if (status != SQZ_OK) return status;
    sqz_sha256_end(&o.digest, digest);
    return o.at == o.size && memcmp(digest, delta + HASHES + hash, hash) == 0 ? SQZ_OK : SQZ_CHECKSUM;
}

SMALL int sqz_delta_encode(const uint8_t *old, size_t old_bytes, const uint8_t *new_file, size_t new_bytes,
                           const int32_t *plan, size_t plan_length, uint8_t *bytes, size_t *size, void *memory,
                           size_t *room)
{
    arena a = {memory, *room, 0, 0};
    part *old_parts, *parts;
    uint32_t old_count, count;
    walk w;
    int status = sqz_delta_parts(&a, new_file, new_bytes, new_bytes, 1, &parts, &count);
    if (status == SQZ_OK) status = sqz_delta_parts(&a, old, old_bytes, old_bytes, 1, &old_parts, &old_count);
    if (status == SQZ_OK) {
        memset(&w, 0, sizeof w);
        w.c = writer(bytes, *size);
        w.way = WRITE;
        w.code_output = sqz_write_output;
        w.version = VERSION;
        w.a = &a;
        w.old_parts = old_parts;
        w.old_count = old_count;
        w.old_end = old + old_bytes;
        w.new_end = new_file + new_bytes;
        w.plan = plan;
        w.plan_end = plan + plan_length;
        status = sqz_delta_code_parts(&w, parts, count);
    }
    *room = a.most;
    if (status != SQZ_OK) return status;
    const size_t found = end_of_writing(&w.c);
    status = found > *size ? SQZ_NO_ROOM : SQZ_OK;
    *size = found;
    return status;
}
