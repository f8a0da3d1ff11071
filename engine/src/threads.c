/* A team whose threads wait by polling: an operation takes some microseconds, and to sleep and wake up takes longer. A
 * thread that has polled POLLS times yields the processor before each further poll. A thread that is free takes the
 * next part of a round: so no part waits for a thread that the system does not run.
 *
 * After a call the team stays for the next one, because to start and end a thread takes longer than many an operation.
 * When its threads have polled LINGER times without a call (about a millisecond), they end. */
#define _POSIX_C_SOURCE 200112L
#include "sqz.h"

#if defined(__GNUC__) && (defined(__unix__) || defined(__APPLE__) || defined(_WIN32))
#include <stdlib.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef HANDLE thread_of_team;
#define sched_yield SwitchToThread
#define getpid() 0 /* no process is forked */
#else
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
typedef pthread_t thread_of_team;
#endif

enum { MOST_PARTS = 64, POLLS = 1000, LINGER = 4000 };
enum { BUSY, IDLE, OVER }; /* in a call; between two calls; the threads end */

typedef struct {
    void (*work)(const void *task, unsigned part);
    const void *task;
    unsigned parts, next, left; /* parts of a round; the next one to take; how many are not done */
    unsigned round, state;      /* number of the round; BUSY, IDLE or OVER */
    unsigned others;            /* threads, besides that of the caller */
    long process;               /* after a fork, the new process has none of the threads */
    thread_of_team threads[MOST_PARTS];
} team_state;

static team_state *spare; /* an idle team, or NULL */

static void pause_between(unsigned polls)
{
    if (polls >= POLLS) sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Change the state from IDLE to `state`. Returns whether it was IDLE. */
static int leave_idle(team_state *team, unsigned state)
{
    unsigned idle = IDLE;
    return __atomic_compare_exchange_n(&team->state, &idle, state, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
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

/* What a thread of the team does: one round after the other. */
static void serve(team_state *team)
{
    for (unsigned round = 0;; round++) {
        for (unsigned polls = 0; __atomic_load_n(&team->round, __ATOMIC_ACQUIRE) == round; polls++) {
            if (polls >= LINGER) leave_idle(team, OVER);
            if (__atomic_load_n(&team->state, __ATOMIC_ACQUIRE) == OVER) return;
            pause_between(polls);
        }
        help(team);
    }
}

#ifdef _WIN32
static DWORD WINAPI begin(void *context)
{
    serve(context);
    return 0;
}

static int start(thread_of_team *thread, team_state *team)
{
    *thread = CreateThread(NULL, 0, begin, team, 0, NULL);
    return *thread != NULL;
}

static void finish(thread_of_team thread)
{
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
#else
static void *begin(void *context)
{
    serve(context);
    return NULL;
}

static int start(thread_of_team *thread, team_state *team)
{
    return pthread_create(thread, NULL, begin, team) == 0;
}

static void finish(thread_of_team thread)
{
    pthread_join(thread, NULL);
}
#endif

static void each(void *context, void (*work)(const void *task, unsigned part), const void *task)
{
    team_state *team = context;
    team->work = work;
    team->task = task;
    __atomic_store_n(&team->left, team->parts, __ATOMIC_RELAXED);
    __atomic_store_n(&team->next, 0, __ATOMIC_RELEASE);
    __atomic_fetch_add(&team->round, 1, __ATOMIC_RELEASE);
    help(team);
    for (unsigned polls = 0; __atomic_load_n(&team->left, __ATOMIC_ACQUIRE) > 0; polls++) pause_between(polls);
}

static void dismiss(team_state *team)
{
    if (team != NULL && team->process == getpid()) {
        __atomic_store_n(&team->state, OVER, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < team->others; i++) finish(team->threads[i]);
    }
    free(team);
}

/* The spare team, if it has so many parts and its threads have not ended; otherwise a new one. NULL: no memory. */
static team_state *hire(unsigned parts)
{
    team_state *team = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL);
    if (team != NULL && team->parts == parts && team->process == getpid() && leave_idle(team, BUSY)) return team;
    dismiss(team);
    team = calloc(1, sizeof *team);
    if (team == NULL) return NULL;
    team->parts = team->next = parts;
    team->process = getpid();
    while (team->others + 1 < parts && start(team->threads + team->others, team)) team->others++;
    return team;
}

void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context)
{
    team_state alone = {.parts = 1};
    team_state *hired = parts > 1 ? hire(parts < MOST_PARTS ? parts : MOST_PARTS) : NULL;
    const sqz_team team = {hired != NULL ? hired->parts : 1, each, hired != NULL ? hired : &alone};
    body(context, &team);
    if (hired == NULL) return;
    __atomic_store_n(&hired->state, IDLE, __ATOMIC_RELEASE);
    dismiss(__atomic_exchange_n(&spare, hired, __ATOMIC_ACQ_REL));
}

/* When the process ends, or the module is unloaded. Not on Windows: there, a thread cannot end before this function
 * returns, so to wait for it takes for ever. Python unloads no module, and Windows ends the threads of a process. */
#ifndef _WIN32
__attribute__((destructor)) static void dismiss_spare(void)
{
    dismiss(__atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL));
}
#endif

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
