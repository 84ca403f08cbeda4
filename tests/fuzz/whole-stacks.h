/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Switches on whole stacks of allocations in AddressSanitizer, for targets whose inputs make
 * thousands of quarks: the suppression of GLib's first table of them (tests/lsan.supp) needs them.
 * Included by one file of a program. */
#pragma once

/* Called by AddressSanitizer, where there is one, before it reads options of the environment. */
const char *__asan_default_options (void) __attribute__ ((visibility ("default")));

const char *
__asan_default_options (void)
{
  return "fast_unwind_on_malloc=0";
}
