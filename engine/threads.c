/* A team that waits by looking: an operation takes some microseconds, falling asleep and waking up takes more. After
 * a while it looks only as often as nobody else wants the processor. */
#define _POSIX_C_SOURCE 200112L
#include "threads.h"

#if defined(__GNUC__) && (defined(__unix__) || defined(__APPLE__))
#include <pthread.h>
#include <sched.h>

enum { MOST_PARTS = 64, LOOKS = 1000 };

typedef struct {
    void (*work)(const void *task, unsigned part);
    const void *task;
    unsigned round, left; /* rounds of work given out; parts of this one that are not yet done */
} shared;

typedef struct {
    shared *team;
    unsigned part;
} member;

/* Wait until `*watched` is `wanted`, or is no longer. */
static void wait_for(const unsigned *watched, unsigned value, int wanted)
{
    for (unsigned looks = 0; (__atomic_load_n(watched, __ATOMIC_ACQUIRE) == value) != wanted; looks++) {
        if (looks >= LOOKS) sched_yield();
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
}

static void *serve(void *context)
{
    const member *self = context;
    shared *team = self->team;
    for (unsigned round = 0;; round++) {
        wait_for(&team->round, round, 0);
        if (team->work == NULL) return NULL;
        team->work(team->task, self->part);
        __atomic_fetch_sub(&team->left, 1, __ATOMIC_RELEASE);
    }
}

static void give_out(shared *team, void (*work)(const void *, unsigned), const void *task, unsigned others)
{
    team->work = work;
    team->task = task;
    team->left = others;
    __atomic_fetch_add(&team->round, 1, __ATOMIC_RELEASE);
}

typedef struct {
    shared team;
    unsigned others;
} leader;

static void each(void *context, void (*work)(const void *task, unsigned part), const void *task)
{
    leader *self = context;
    give_out(&self->team, work, task, self->others);
    work(task, 0);
    wait_for(&self->team.left, 0, 1);
}

void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context)
{
    pthread_t threads[MOST_PARTS];
    member members[MOST_PARTS];
    leader self = {{NULL, NULL, 0, 0}, 0};
    while (self.others + 1 < parts && self.others < MOST_PARTS) {
        member *next = members + self.others;
        next->team = &self.team;
        next->part = self.others + 1;
        if (pthread_create(threads + self.others, NULL, serve, next) != 0) break;
        self.others++;
    }
    const sqz_team team = {self.others + 1, each, &self};
    body(context, &team);
    give_out(&self.team, NULL, NULL, 0);
    for (unsigned i = 0; i < self.others; i++) pthread_join(threads[i], NULL);
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
