/* A team (`sqz_team`) of POSIX threads; where there are none, a team of one. The engine itself starts no threads. */
#ifndef SQZ_THREADS_H
#define SQZ_THREADS_H

#include "sqz.h"

/* Call body(context, team) with a team of at most `parts` parts. Its threads stay for about a millisecond, for a call
 * that follows. */
void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context);

#endif
