/* A team (`sqz_team`) of POSIX threads; without these, a team of one. Not part of the core. */
#ifndef SQZ_THREADS_H
#define SQZ_THREADS_H

#include "sqz.h"

/* Call body(context, team) with a team of at most `parts` parts. Its threads end with the call. */
void sqz_with_team(unsigned parts, void (*body)(void *context, const sqz_team *team), void *context);

#endif
