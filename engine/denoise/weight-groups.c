/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weight groups of the transformer and the order in which they are used. At the released widths a
 * stream of a double block and a single block have about the same size (227 million values), so
 * that slots of one size suit all of them. */
#include "engine/denoise/transformer-private.h"

#include <string.h>

/* Returns the number of groups of a kind. */
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
add (GArray *schedule, const AvatarTransformerConfig *c, AvatarWeightGroupKind kind, guint i)
{
  guint group = avatar_transformer_weight_group (c, kind, i);

  g_array_append_val (schedule, group);
}

static void
add_precompute (GArray *groups, const AvatarTransformerConfig *c)
{
  add (groups, c, AVATAR_WEIGHT_GROUP_EMBED, 0);
  for (guint i = 0; i < 2 * c->n_double; i++)
    add (groups, c, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, i);
  for (guint i = 0; i < c->n_single; i++)
    add (groups, c, AVATAR_WEIGHT_GROUP_MOD_SINGLE, i);
  add (groups, c, AVATAR_WEIGHT_GROUP_MOD_FINAL, 0);
  add (groups, c, AVATAR_WEIGHT_GROUP_TEXT, 0);
  for (guint i = 0; i < c->refiner_depth; i++) {
    add (groups, c, AVATAR_WEIGHT_GROUP_TEXT_ATTENTION, i);
    add (groups, c, AVATAR_WEIGHT_GROUP_TEXT_MLP, i);
  }
}

static void
add_forward (GArray *groups, const AvatarTransformerConfig *c)
{
  for (guint i = 0; i < c->n_double; i++) {
    add (groups, c, AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
    add (groups, c, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, i);
  }
  for (guint i = 0; i < c->n_single; i++)
    add (groups, c, AVATAR_WEIGHT_GROUP_SINGLE, i);
}

AvatarWeightSchedule *
avatar_transformer_weight_schedule (const AvatarTransformerConfig *c, AvatarTransformerPass pass)
{
  gboolean precompute = pass == AVATAR_PASS_PRECOMPUTE;
  g_autoptr (GArray) groups = g_array_new (FALSE, FALSE, sizeof (guint));
  guint n;
  AvatarWeightSchedule *schedule;
  guint *copy;

  if (precompute)
    add_precompute (groups, c);
  else
    add_forward (groups, c);
  n = groups->len;
  if (!precompute) { /* on demand, between windows */
    add (groups, c, AVATAR_WEIGHT_GROUP_REFERENCE, 0);
    add (groups, c, AVATAR_WEIGHT_GROUP_AUDIO, 0);
    add (groups, c, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0);
  }
  schedule = g_malloc (sizeof *schedule + groups->len * sizeof (guint));
  copy = memcpy (schedule + 1, groups->data, groups->len * sizeof (guint));
  /* a forward uses both streams of a double block at the same time */
  *schedule = (AvatarWeightSchedule){ copy, copy + n, n, groups->len - n, precompute ? 1 : 2,
    precompute };
  return schedule;
}
