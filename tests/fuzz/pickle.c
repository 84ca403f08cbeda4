/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a pickle. The first nodes of what is accepted are walked. */
#include "tests/fuzz/target.h"

#include "engine/formats/pickle.h"

static volatile guint8 sum; /* keeps the reads */

#define STEPS 1000 /* nodes may hold themselves: there is no end */

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarPickle) pickle = avatar_pickle_parse (data, size, "fuzz", &error);
  const AvatarPickleNode *node;

  g_assert (!pickle == !!error);
  if (!pickle)
    return 0;
  node = avatar_pickle_get (pickle, avatar_pickle_root (pickle));
  for (guint step = 0; step < STEPS; step++) {
    guint n = avatar_pickle_n_items (node);

    if (node->type == AVATAR_PICKLE_STRING || node->type == AVATAR_PICKLE_GLOBAL)
      for (guint i = 0; i < node->length; i++)
        sum += node->text[i];
    if (n > 0)
      node = avatar_pickle_item (pickle, node, step % n);
    else if (node->type == AVATAR_PICKLE_OBJECT || node->type == AVATAR_PICKLE_STORED)
      node = avatar_pickle_get (pickle,
          node->type == AVATAR_PICKLE_OBJECT && step % 2 ? node->second : node->first);
    else
      node = avatar_pickle_get (pickle, avatar_pickle_root (pickle));
  }
  return 0;
}
