// Sends images through the design and compares the logits with those of squeezenet.
//   bench IMAGES [PERCENT [SEED]]: the pixels and the reader of the logits pause in PERCENT of all cycles.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "Vsqueezenet_top.h"
#include "verilated.h"

static const int CHANNELS = @CHANNELS@, PIXELS = @PIXELS@, CLASSES = @CLASSES@, LOGIT_BITS = @LOGIT_BITS@;
static const bool SIGNED = @SIGNED@;
static const uint64_t PATIENCE = @PATIENCE@;  // cycles without a logit after which the design is taken to be stuck

int main(int argc, char **argv)
{
    Verilated::commandArgs(argc, argv);
    int images = argc > 1 ? atoi(argv[1]) : 1, percent = argc > 2 ? atoi(argv[2]) : 0;
    unsigned seed = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
    std::vector<uint8_t> pixels;
    FILE *file = fopen("test/images.bin", "rb");
    if (!file) return perror("test/images.bin"), 2;
    pixels.resize((size_t)images * PIXELS * CHANNELS);
    size_t got = fread(pixels.data(), (size_t)PIXELS * CHANNELS, (size_t)images, file);
    fclose(file);
    images = (int)got;
    std::vector<int> logits((size_t)images * CLASSES);
    file = fopen("test/logits.txt", "r");
    if (!file) return perror("test/logits.txt"), 2;
    for (int &logit : logits)
        if (fscanf(file, "%d", &logit) != 1) return fprintf(stderr, "test/logits.txt: too short\n"), 2;
    fclose(file);
    if (percent) printf("pauses in %d%% of the cycles, seed %u\n", percent, seed);

    uint64_t state = 0x9e3779b97f4a7c15u * (seed + 1);
    auto pause = [&]() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (int)((state >> 33) % 100) < percent;
    };
    Vsqueezenet_top top;
    uint64_t cycle = 0, last_logit = 0, first_done = 0, all_done = 0, wrong = 0;
    size_t sent = 0, received = 0, total = pixels.size() / CHANNELS;
    top.clk = 0;
    bool offered = false, taking = false;
    while (received < logits.size()) {
        top.rst = cycle < 4;
        if (!offered) offered = sent < total && cycle >= 4 && !pause();  // what is offered stays until it is taken
        taking = !pause();
        top.pixel_valid = offered;
        uint64_t pixel = 0;
        for (int c = 0; offered && c < CHANNELS; c++) pixel |= (uint64_t)pixels[sent * CHANNELS + (size_t)c] << (8 * c);
        top.pixel_data = pixel;
        top.logit_ready = taking && cycle >= 4;
        top.eval();
        bool pushed = offered && top.pixel_ready, popped = top.logit_valid && top.logit_ready;
        if (popped) {
            int64_t logit = top.logit_data;
            if (SIGNED && (logit >> (LOGIT_BITS - 1)) & 1) logit -= (int64_t)1 << LOGIT_BITS;
            bool last = received % CLASSES == (size_t)CLASSES - 1;
            if (logit != logits[received] || (bool)top.logit_last != last) {
                if (wrong++ < 10)
                    printf("image %zu, logit %zu: %lld, not %d\n", received / CLASSES, received % CLASSES,
                        (long long)logit, logits[received]);
            }
            received++;
            last_logit = all_done = cycle;
            if (received == CLASSES) first_done = cycle;
        }
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        if (pushed) { sent++; offered = false; }
        if (++cycle - last_logit > PATIENCE) {
            printf("no logit for %llu cycles: %zu of %zu pixels sent, %zu of %zu logits received\n",
                (unsigned long long)PATIENCE, sent, total, received, logits.size());
            return 1;
        }
    }
    printf("images %d\n", images);
    printf("logits that differ %llu of %zu\n", (unsigned long long)wrong, logits.size());
    printf("cycles until the logits of the first image %llu\n", (unsigned long long)first_done);
    if (images > 1)
        printf("cycles of an image %llu\n", (unsigned long long)((all_done - first_done) / (uint64_t)(images - 1)));
    return wrong != 0;
}
