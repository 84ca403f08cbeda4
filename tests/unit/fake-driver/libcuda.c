/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A libcuda.so.1 that knows its version (FAKE_DRIVER, such as 11000) and fails to start (FAKE_INIT,
 * the status): enough for the CUDA runtime to find it and to give up. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__ ((visibility ("default")))
#define SYMBOL_NOT_FOUND 500

EXPORT int cuDriverGetVersion (int *version);
EXPORT int cuInit (unsigned flags);
EXPORT int
cuGetProcAddress_v2 (const char *name, void **function, int version, uint64_t flags, int *status);

static int
number (const char *variable)
{
  const char *text = getenv (variable);

  return text ? atoi (text) : 0;
}

int
cuDriverGetVersion (int *version)
{
  *version = number ("FAKE_DRIVER");
  return 0;
}

int
cuInit (unsigned flags)
{
  return number ("FAKE_INIT");
}

int
cuGetProcAddress_v2 (const char *name, void **function, int version, uint64_t flags, int *status)
{
  *function = NULL;
  if (strcmp (name, "cuInit") == 0)
    *function = (void *) (uintptr_t) cuInit;
  else if (strcmp (name, "cuDriverGetVersion") == 0)
    *function = (void *) (uintptr_t) cuDriverGetVersion;
  else if (strcmp (name, "cuGetProcAddress") == 0)
    *function = (void *) (uintptr_t) cuGetProcAddress_v2;
  return *function ? 0 : SYMBOL_NOT_FOUND;
}
