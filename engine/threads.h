/* Threads for a team (`sqz_team`) where there are POSIX threads; elsewhere a team is one. Not part of the core. */
#ifndef SQZ_THREADS_H
#define SQZ_THREADS_H

#include "sqz.h"

/* Call body(context, team) with a team of at most `parts`, whose threads live as long as the call. */
void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context);

#endif
