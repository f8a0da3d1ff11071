/* A tool that does nothing: what its program needs is taken off from all others. */
#include "tool.h"

void begin(void)
{
}

void classify(void)
{
}

void finish(void)
{
}
