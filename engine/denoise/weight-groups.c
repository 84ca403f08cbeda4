/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The transformer's weights in the parts in which they go to a device. The two streams of a double
 * block and a single block are of about the same size at the released widths (227 million values),
 * so that slots of one size serve them all. */
#include "engine/denoise/transformer-private.h"

#include <stdio.h>
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

/* TRUE: @name is "@prefix.I.rest" */
static gboolean
split (const char *name, const char *prefix, guint *i, const char **rest)
{
  gsize n = strlen (prefix);
  int used = 0;

  if (strncmp (name, prefix, n) != 0 || name[n] != '.'
      || sscanf (name + n + 1, "%3u.%n", i, &used) != 1 || used == 0)
    return FALSE;
  *rest = name + n + 1 + used;
  return TRUE;
}

static gboolean
is_one_of (const char *name, const char *const *prefixes)
{
  for (; *prefixes; prefixes++)
    if (g_str_has_prefix (name, *prefixes))
      return TRUE;
  return FALSE;
}

static guint
group_of (const char *name, gconstpointer data)
{
  static const char *const embed[]
      = { "time_in.", "vector_in.", "motion_exp.", "motion_pose.", "fps_proj.", NULL };
  static const char *const scene[] = { "ref_in.", "before_proj.", NULL };
  static const char *const attention[] = { "norm1.", "self_attn_", "adaLN_modulation.", NULL };
  static const char *const speech[] = { "norm1.", "to_kv.", NULL };
  const AvatarTransformerConfig *c = data;
  const char *rest;
  guint i;

  if (split (name, "double_blocks", &i, &rest) && i < c->n_double) {
    gboolean text = !g_str_has_prefix (rest, "img_");

    if (strstr (rest, "_mod."))
      return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_DOUBLE, 2 * i + text);
    return avatar_transformer_weight_group (c,
        text ? AVATAR_WEIGHT_GROUP_DOUBLE_TXT : AVATAR_WEIGHT_GROUP_DOUBLE_IMG, i);
  }
  if (split (name, "single_blocks", &i, &rest) && i < c->n_single)
    return avatar_transformer_weight_group (c,
        g_str_has_prefix (rest, "modulation.") ? AVATAR_WEIGHT_GROUP_MOD_SINGLE
                                               : AVATAR_WEIGHT_GROUP_SINGLE,
        i);
  if (split (name, "audio_adapter_blocks", &i, &rest) && i < c->n_adapters)
    return is_one_of (rest, speech)
        ? avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_AUDIO_KV, 0)
        : avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_DOUBLE_TXT, c->adapter_after[i]);
  if (split (name, "txt_in.individual_token_refiner.blocks", &i, &rest) && i < c->refiner_depth)
    return avatar_transformer_weight_group (c,
        is_one_of (rest, attention) ? AVATAR_WEIGHT_GROUP_TEXT_ATTENTION
                                    : AVATAR_WEIGHT_GROUP_TEXT_MLP,
        i);
  if (g_str_has_prefix (name, "txt_in."))
    return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_TEXT, 0);
  if (g_str_has_prefix (name, "audio_proj."))
    return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_AUDIO, 0);
  if (g_str_has_prefix (name, "final_layer.adaLN_modulation."))
    return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_MOD_FINAL, 0);
  if (is_one_of (name, embed))
    return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_EMBED, 0);
  if (is_one_of (name, scene))
    return avatar_transformer_weight_group (c, AVATAR_WEIGHT_GROUP_REFERENCE, 0);
  return AVATAR_WEIGHT_GROUP_FIXED; /* img_in and final_layer.linear: small, and in every forward */
}

AvatarWeightGrouping
avatar_transformer_weight_groups (const AvatarTransformerConfig *config)
{
  return (AvatarWeightGrouping){
    .n = avatar_transformer_weight_group (config, AVATAR_WEIGHT_GROUP_SINGLE, config->n_single),
    .group_of = group_of,
    .data = config,
  };
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
