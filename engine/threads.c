/* A team whose threads wait by polling: an operation takes some microseconds, and to sleep and wake up takes longer. A
 * thread that has polled POLLS times yields the processor before each further poll. A thread that is free takes the
 * next part of a round: so no part waits for a thread that the system does not run. */
#define _POSIX_C_SOURCE 200112L
#include "threads.h"

#if defined(__GNUC__) && (defined(__unix__) || defined(__APPLE__))
#include <pthread.h>
#include <sched.h>

enum { MOST_PARTS = 64, POLLS = 1000 };

typedef struct {
    void (*work)(const void *task, unsigned part);
    const void *task;
    unsigned parts, next, left; /* parts of a round; the next one to take; how many are not done */
    unsigned round, stop;       /* number of the round; whether the threads shall end */
} team_state;

/* Wait until `*watched` is `value` (wanted = 1), or until it is not (wanted = 0). */
static void wait_for(const unsigned *watched, unsigned value, int wanted)
{
    for (unsigned polls = 0; (__atomic_load_n(watched, __ATOMIC_ACQUIRE) == value) != wanted; polls++) {
        if (polls >= POLLS) sched_yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

/* Do the parts of a round that nobody has taken. `work` and `task` are valid until all parts are done. */
static void help(team_state *team)
{
    unsigned part;
    while ((part = __atomic_fetch_add(&team->next, 1, __ATOMIC_ACQ_REL)) < team->parts) {
        team->work(team->task, part);
        __atomic_fetch_sub(&team->left, 1, __ATOMIC_RELEASE);
    }
}

/* A thread of the team: one round after the other. */
static void *serve(void *context)
{
    team_state *team = context;
    for (unsigned round = 0;; round++) {
        wait_for(&team->round, round, 0);
        if (__atomic_load_n(&team->stop, __ATOMIC_ACQUIRE)) return NULL;
        help(team);
    }
}

static void each(void *context, void (*work)(const void *task, unsigned part), const void *task)
{
    team_state *team = context;
    team->work = work;
    team->task = task;
    __atomic_store_n(&team->left, team->parts, __ATOMIC_RELAXED);
    __atomic_store_n(&team->next, 0, __ATOMIC_RELEASE);
    __atomic_fetch_add(&team->round, 1, __ATOMIC_RELEASE);
    help(team);
    wait_for(&team->left, 0, 1);
}

void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context)
{
    pthread_t threads[MOST_PARTS];
    team_state self = {NULL, NULL, parts < MOST_PARTS ? parts : MOST_PARTS, 0, 0, 0, 0};
    unsigned others = 0;
    self.next = self.parts;
    while (others + 1 < self.parts && pthread_create(threads + others, NULL, serve, &self) == 0) others++;
    const sqz_team team = {self.parts, each, &self};
    body(context, &team);
    __atomic_store_n(&self.stop, 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&self.round, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < others; i++) pthread_join(threads[i], NULL);
}

#else

static void each(void *context, void (*work)(const void *task, unsigned part), const void *task)
{
    (void)context;
    work(task, 0);
}

void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context)
{
    const sqz_team team = {1, each, NULL};
    (void)parts;
    body(context, &team);
}

#endif
