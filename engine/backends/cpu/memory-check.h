/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks of memory for the loops with most of the computation, which sanitizers make twenty times
 * as slow by checks of every access: these loops are compiled without them, and announce all memory
 * that they use before they start. Without a sanitizer nothing here has an effect. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>

/* Compiles a function without checks of every access. It calls avatar_check_read() and
 * avatar_check_write(), or is inlined into a function that does. */
#define AVATAR_CHECKED_ONCE __attribute__ ((no_sanitize ("address"), no_sanitize ("undefined")))

/* Ends the program with a report of the first byte, if any, of @x [n] that may not be used: the
 * access here is one that AddressSanitizer checks. @x: or %NULL, which has no floats. */
static __attribute__ ((noinline, unused)) void
avatar_check_read (const float *x, gint64 n)
{
  const volatile char *bad = x ? __asan_region_is_poisoned ((void *) x, n * sizeof *x) : NULL;

  if (bad)
    (void) *bad;
}

static inline void
avatar_check_write (float *x, gint64 n)
{
  avatar_check_read (x, n);
}
#elif defined(__SANITIZE_THREAD__)
/* Functions that the compiler calls for accesses of several bytes; no header declares them. */
void __tsan_read_range (void *address, long bytes);
void __tsan_write_range (void *address, long bytes);

#define AVATAR_CHECKED_ONCE __attribute__ ((no_sanitize ("thread")))

static inline void
avatar_check_read (const float *x, gint64 n)
{
  if (x)
    __tsan_read_range ((void *) x, n * sizeof *x);
}

static inline void
avatar_check_write (float *x, gint64 n)
{
  __tsan_write_range (x, n * sizeof *x);
}
#else
#define AVATAR_CHECKED_ONCE

static inline void
avatar_check_read (const float *x, gint64 n)
{
}

static inline void
avatar_check_write (float *x, gint64 n)
{
}
#endif

G_END_DECLS
