/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's choice of a video size: the shorter side is scaled to the base, both sides are rounded
 * to multiples of 64, and a cap limits the area. As in upstream, the rounding after the cap may
 * exceed it. */
#include "engine/image/resize.h"

#include <math.h>

static guint
round_side (double side, guint multiple)
{
  return (guint) nearbyint (side / multiple) * multiple; /* ties to even, as Python's round() */
}

static double
cap_of (const AvatarResizeConfig *rule, guint base)
{
  for (guint i = 0; i < rule->n_caps; i++)
    if (rule->shorter[i] == base)
      return (double) rule->shorter[i] * rule->longer[i];
  return 1.5 * base * base;
}

void
avatar_resize_rule (const AvatarResizeConfig *rule, guint width, guint height, guint base,
    guint *out_width, guint *out_height)
{
  double scale = (double) base / MIN (width, height), cap = cap_of (rule, base);

  *out_width = round_side (width * scale, rule->multiple);
  *out_height = round_side (height * scale, rule->multiple);
  if ((double) *out_width * *out_height <= cap)
    return;
  scale = sqrt (cap / ((double) width * height));
  *out_width = round_side (width * scale, rule->multiple);
  *out_height = round_side (height * scale, rule->multiple);
}
