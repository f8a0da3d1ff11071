/* Planner of rows, 5: the search for the best places of weights. */
#include "planner.h"

enum {
    PLANS_A_LAYER = 200,     /* changes that are tried for each layer, in each round */
    ROUNDS = 4,              /* each begins with the best choice so far */
    FIRST_THRESHOLD = 50000, /* how much worse a change may be at first, in bytes of flash; at the end of a round, 0 */
    PRICE_OVER_LIMITS = 100, /* cost of a byte over the limits at the end of a round, in bytes of flash; at first, 1 */
    MOST_CHANGED = 8,        /* most neighbouring operations that are changed together */
    WEIGHTS_A_BYTE = 100     /* so many decoded weights cost as much as a byte of flash */
};

/* What a choice of places costs, in bytes of flash: WEIGHTS_A_BYTE decoded weights cost as much as a byte. With a limit
 * of flash, only decoding costs something. `over`: bytes over the limits. */
static double rate(sqz_planner *p, size_t ram, size_t flash, double *over)
{
    const size_t bytes = sqz_row_memory(p, 0), weights = sqz_lay_out_weights(p, NULL);
    double decoded = 0;
    for (uint32_t i = 0; i < p->op_count; i++) decoded += (double)p->plan->infos[i].decodes * p->plan->infos[i].weights;
    *over = (bytes > ram ? (double)(bytes - ram) : 0) + (flash > 0 && weights > flash ? (double)(weights - flash) : 0);
    return decoded / (double)WEIGHTS_A_BYTE + (flash > 0 ? 0 : (double)weights);
}

/* Change the places of the layers from i to j and of the peers of layer i. Returns whether that changes anything. */
static int place_some(sqz_planner *p, uint32_t i, uint32_t j, uint32_t choice)
{
    int changed = 0;
    for (uint32_t k = 0; k < p->op_count; k++) {
        const uint32_t before = sqz_choice_of(p, k);
        if (p->stream_bytes[k] == 0 || ((k < i || k > j) && !sqz_are_peers(p, p->ops + i, p->ops + k))) continue;
        sqz_place_weights(p, k, choice);
        changed |= sqz_choice_of(p, k) != before;
    }
    return changed;
}

static void save_places(const sqz_planner *p, uint32_t *choices)
{
    for (uint32_t i = 0; i < p->op_count; i++) choices[i] = sqz_choice_of(p, i);
}

static void restore_places(sqz_planner *p, const uint32_t *choices)
{
    for (uint32_t i = 0; i < p->op_count; i++)
        if (p->stream_bytes[i] > 0) sqz_place_weights(p, i, choices[i]);
}

/* A pseudo-random number below n. */
static uint32_t choose(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 8) % n;
}

/* Choose the places of weights by threshold accepting (a simple form of simulated annealing): some layers get another
 * number of decodes; a worse choice is accepted if it is not much worse, and less and less so. A byte over the limits
 * costs more and more. Each round begins with the best choice so far. */
int sqz_search_places(sqz_planner *p, size_t ram, size_t flash, uint32_t *best_places, uint32_t *places)
{
    const double most = PRICE_OVER_LIMITS;
    uint32_t random = 1, plans = 0;
    double over, best_over;
    if (ram == 0) ram = sqz_row_memory(p, 0);
    double best = rate(p, ram, flash, &best_over);
    for (uint32_t i = 0; i < p->op_count; i++) plans += p->stream_bytes[i] > 0 ? PLANS_A_LAYER : 0;
    save_places(p, best_places);
    if (best_over == 0 && best == 0) return SQZ_OK; /* nothing is better than weights that all fit as they are */
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double current = best, current_over = best_over;
        restore_places(p, best_places);
        for (uint32_t tried = 0; tried < plans; tried++) {
            const double progress = (double)tried / plans;
            const double price = round % 2 > 0 ? most : most * progress * progress + 1;
            const uint32_t i = choose(&random, p->op_count), more = choose(&random, 2) * choose(&random, MOST_CHANGED);
            save_places(p, places);
            if (!place_some(p, i, i + more, choose(&random, PACKED + 1))) continue;
            const double cost = rate(p, ram, flash, &over);
            if (cost + price * over > current + price * current_over + (double)FIRST_THRESHOLD * (1 - progress)) {
                restore_places(p, places);
                continue;
            }
            current = cost;
            current_over = over;
            if (over > best_over || (over == best_over && cost >= best)) continue;
            best = cost;
            best_over = over;
            save_places(p, best_places);
        }
    }
    restore_places(p, best_places);
    return best_over > 0 ? SQZ_NO_PLAN : SQZ_OK;
}
