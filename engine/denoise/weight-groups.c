/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transformer's weights in the parts in which they go to a device. The two streams of a double
 * block and a single block are of about the same size at the released widths (227 million values),
 * so that slots of one size serve them all. */
#include "engine/denoise/transformer-private.h"

#include <string.h>

/* How many units of each kind there are. */
static guint
count (const AvatarTransformerConfig *c, AvatarWeightGroupKind kind)
{
  switch (kind) {
    case AVATAR_WEIGHT_GROUP_TEXT_ATTENTION:
    case AVATAR_WEIGHT_GROUP_TEXT_MLP:
      return c->refiner_depth;
    case AVATAR_WEIGHT_GROUP_MOD_DOUBLE:
      return 2 * c->n_double;
    case AVATAR_WEIGHT_GROUP_DOUBLE_IMG:
    case AVATAR_WEIGHT_GROUP_DOUBLE_TXT:
      return c->n_double;
    case AVATAR_WEIGHT_GROUP_MOD_SINGLE:
    case AVATAR_WEIGHT_GROUP_SINGLE:
      return c->n_single;
    default:
      return 1;
  }
}

guint
avatar_transformer_weight_group (const AvatarTransformerConfig *c, AvatarWeightGroupKind kind,
    guint i)
{
  guint first = 0;

  for (guint k = 0; k < (guint) kind; k++)
    first += count (c, k);
  return first + i;
}

static void
add (GArray *route, const AvatarTransformerConfig *c, AvatarWeightGroupKind kind, guint i)
{
  guint unit = avatar_transformer_weight_group (c, kind, i);

  g_array_append_val (route, unit);
}

static void
add_ahead (GArray *units, const AvatarTransformerConfig *c)
{
  add (units, c, AVATAR_WEIGHT_GROUP_EMBED, 0);
  for (guint i = 0; i < 2 * c->n_double; i++)
    add (units, c, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, i);
  for (guint i = 0; i < c->n_single; i++)
    add (units, c, AVATAR_WEIGHT_GROUP_MOD_SINGLE, i);
  add (units, c, AVATAR_WEIGHT_GROUP_MOD_FINAL, 0);
  add (units, c, AVATAR_WEIGHT_GROUP_TEXT, 0);
  for (guint i = 0; i < c->refiner_depth; i++) {
    add (units, c, AVATAR_WEIGHT_GROUP_TEXT_ATTENTION, i);
    add (units, c, AVATAR_WEIGHT_GROUP_TEXT_MLP, i);
  }
}

static void
add_forward (GArray *units, const AvatarTransformerConfig *c)
{
  for (guint i = 0; i < c->n_double; i++) {
    add (units, c, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
    add (units, c, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
  }
  for (guint i = 0; i < c->n_single; i++)
    add (units, c, AVATAR_WEIGHT_GROUP_SINGLE, i);
}

AvatarWeightSchedule *
avatar_transformer_weight_schedule (const AvatarTransformerConfig *c, gboolean ahead)
{
  g_autoptr (GArray) units = g_array_new (FALSE, FALSE, sizeof (guint));
  guint n;
  AvatarWeightSchedule *route;
  guint *copy;

  if (ahead)
    add_ahead (units, c);
  else
    add_forward (units, c);
  n = units->len;
  if (!ahead) { /* on_demand: between windows */
    add (units, c, AVATAR_WEIGHT_GROUP_REFERENCE, 0);
    add (units, c, AVATAR_WEIGHT_GROUP_AUDIO, 0);
    add (units, c, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0);
  }
  route = g_malloc (sizeof *route + units->len * sizeof (guint));
  copy = memcpy (route + 1, units->data, units->len * sizeof (guint));
  /* a forward uses both streams of a double block at once */
  *route = (AvatarWeightSchedule){ copy, copy + n, n, units->len - n, ahead ? 1 : 2, ahead };
  return route;
}
