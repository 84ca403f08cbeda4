/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parser of memory sizes as users write them: "4096" (MiB), "80%", "auto". */
#include "engine/device/device.h"

#include <string.h>
#include <unistd.h>

#define MIB 1048576.
/* Largest size that is accepted: above it is a typing error, and the bytes would overflow. */
#define MAX_MIB 1e9

typedef struct
{
  gboolean automatic;
  double percent; /* 0 if the size is not a percentage */
  double mib;
} Amount;

/* Parses digits with at most one point. g_ascii_strtod() alone accepts signs, exponents and "nan"
 * as well. */
static gboolean
parse_number (const char *text, gsize length, double *number)
{
  const char *point = memchr (text, '.', length);

  if (length == 0 || length > 32 || strspn (text, "0123456789.") < length
      || (point && (length == 1 || memchr (point + 1, '.', text + length - point - 1))))
    return FALSE;
  *number = g_ascii_strtod (text, NULL);
  return TRUE;
}

/* @min_mib: the smallest number of MiB that is accepted */
static gboolean
parse_amount (const char *text, const char *what, double min_mib, Amount *amount, GError **error)
{
  gsize length = text ? strlen (text) : 0;

  *amount = (Amount){ 0 };
  if (length == 0 || strcmp (text, "auto") == 0) {
    amount->automatic = TRUE;
    return TRUE;
  }
  if (text[length - 1] == '%') {
    if (parse_number (text, length - 1, &amount->percent) && amount->percent > 0
        && amount->percent <= 100)
      return TRUE;
  } else if (parse_number (text, length, &amount->mib) && amount->mib >= min_mib
      && amount->mib <= MAX_MIB) {
    return TRUE;
  }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "%s is \"%s\": expected MiB as a number from %g (such as 4096), a share above 0%% and up to "
      "100%% (such as 80%%), or auto",
      what, text, min_mib);
  return FALSE;
}

static guint64
share_of (guint64 total, double percent)
{
  return (guint64) (total * (percent / 100));
}

static guint64
host_total (void)
{
  glong pages = sysconf (_SC_PHYS_PAGES), page = sysconf (_SC_PAGESIZE);

  return pages > 0 && page > 0 ? (guint64) pages * page : 0;
}

/* The free memory and what this process holds already, less the reserve for other programs. */
static guint64
automatic_budget (AvatarDevice *device)
{
  AvatarMemory memory;
  guint64 free_bytes, total, reserve;

  if (!avatar_device_get_memory_info (device, &free_bytes, &total))
    return 0;
  reserve = avatar_device_get_reserve_bytes (device);
  avatar_device_get_memory (device, &memory);
  return memory.now + free_bytes - MIN (free_bytes, reserve);
}

gboolean
avatar_device_parse_budget (AvatarDevice *device, const char *text, guint64 *bytes, GError **error)
{
  guint64 free_bytes, total;
  Amount amount;

  *bytes = 0;
  if (!parse_amount (text, "the memory budget", 1, &amount, error))
    return FALSE;
  if (!device)
    return TRUE;
  device = avatar_device_get_member (device, 0);
  if (amount.automatic) {
    *bytes = automatic_budget (device);
  } else if (amount.percent > 0) {
    if (!avatar_device_get_memory_info (device, &free_bytes, &total))
      total = host_total ();
    *bytes = share_of (total, amount.percent);
  } else {
    *bytes = (guint64) (amount.mib * MIB);
  }
  return TRUE;
}

gboolean
avatar_device_parse_budgets (AvatarDevice *device, const char *text, guint64 *bytes, GError **error)
{
  guint n = avatar_device_get_n_members (device), n_parts;
  g_auto (GStrv) parts = g_strsplit (text && *text ? text : "auto", ",", -1);

  n_parts = g_strv_length (parts);
  if (n_parts != 1 && n_parts != n) {
    g_autofree char *each
        = n > 1 ? g_strdup_printf (", or %u, one for each GPU of", n) : g_strdup (" for");

    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the memory budget is \"%s\", which has %u numbers; expected one number%s %s", text,
        n_parts, each, avatar_device_get_name (device));
    return FALSE;
  }
  for (guint i = 0; i < n; i++) {
    const char *part = parts[n_parts == 1 ? 0 : i];

    /* an empty part is a mistake, only an empty text is automatic */
    if (!avatar_device_parse_budget (avatar_device_get_member (device, i), *part ? part : ",",
            &bytes[i], error))
      return FALSE;
  }
  return TRUE;
}

gboolean
avatar_parse_pinned_memory (const char *text, guint64 *bytes, GError **error)
{
  Amount amount;

  *bytes = 0;
  if (!parse_amount (text, "the pinned memory", 0, &amount, error))
    return FALSE;
  /* The other half is left to the page cache, which holds the other weights, and to programs. */
  if (amount.automatic)
    *bytes = share_of (host_total (), 50);
  else if (amount.percent > 0)
    *bytes = share_of (host_total (), amount.percent);
  else
    *bytes = (guint64) (amount.mib * MIB);
  return TRUE;
}
