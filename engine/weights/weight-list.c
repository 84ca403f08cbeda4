/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/weights/weight-list.h"

#include <string.h>

static void
entry_clear (gpointer data)
{
  g_free (((AvatarWeightEntry *) data)->name);
}

AvatarWeightList *
avatar_weight_list_new (guint n_groups)
{
  AvatarWeightList *self = g_new0 (AvatarWeightList, 1);

  self->n_groups = n_groups;
  self->entries = g_array_new (FALSE, FALSE, sizeof (AvatarWeightEntry));
  g_array_set_clear_func (self->entries, entry_clear);
  return self;
}

void
avatar_weight_list_free (AvatarWeightList *self)
{
  if (!self)
    return;
  g_array_unref (self->entries);
  g_free (self);
}

const AvatarWeightEntry *
avatar_weight_list_nth (const AvatarWeightList *self, guint i)
{
  return &g_array_index (self->entries, AvatarWeightEntry, i);
}

char *
avatar_weight_list_checksum (const AvatarWeightList *self)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);

  for (guint i = 0; i < self->entries->len; i++) {
    const char *name = avatar_weight_list_nth (self, i)->name;

    g_checksum_update (sum, (const guchar *) name, strlen (name) + 1);
  }
  return g_strdup (g_checksum_get_string (sum));
}

void
avatar_weight_list_add_tensor (AvatarWeightList *self, AvatarWeight *handle, const char *name,
    guint group, AvatarWeightClass storage)
{
  AvatarWeightEntry entry = { g_strdup (name), handle, group, storage };

  g_assert (group < self->n_groups || group == AVATAR_WEIGHT_GROUP_FIXED);
  g_array_append_val (self->entries, entry);
}

/* Storage classes of each AvatarModuleKind; -1 for a module without bias. The bias of a matrix
 * has the dtype of activations, in which it is added. */
static const struct
{
  const char *suffix;
  AvatarWeightClass weight;
  gint bias;
} kinds[] = {
  [AVATAR_MODULE_LINEAR]
  = { ".weight", AVATAR_WEIGHT_CLASS_ACTIVATION, AVATAR_WEIGHT_CLASS_ACTIVATION },
  [AVATAR_MODULE_QUANTISABLE]
  = { ".weight", AVATAR_WEIGHT_CLASS_QUANTISABLE, AVATAR_WEIGHT_CLASS_ACTIVATION },
  [AVATAR_MODULE_MODULATION]
  = { ".weight", AVATAR_WEIGHT_CLASS_STORED_8BIT, AVATAR_WEIGHT_CLASS_ACTIVATION },
  [AVATAR_MODULE_MATRIX] = { ".weight", AVATAR_WEIGHT_CLASS_ACTIVATION, -1 },
  [AVATAR_MODULE_NORM] = { ".weight", AVATAR_WEIGHT_CLASS_F32, AVATAR_WEIGHT_CLASS_F32 },
  [AVATAR_MODULE_SCALE] = { ".weight", AVATAR_WEIGHT_CLASS_F32, -1 },
  [AVATAR_MODULE_VECTOR] = { "", AVATAR_WEIGHT_CLASS_F32, -1 },
};

static void
add_module (AvatarWeightList *self, AvatarModuleWeights *module, const char *name,
    AvatarModuleKind kind, guint group)
{
  g_autofree char *weight = g_strconcat (name, kinds[kind].suffix, NULL);
  g_autofree char *bias = g_strconcat (name, ".bias", NULL);

  avatar_weight_list_add_tensor (self, &module->weight, weight, group, kinds[kind].weight);
  if (kinds[kind].bias >= 0)
    avatar_weight_list_add_tensor (self, &module->bias, bias, group, kinds[kind].bias);
}

void
avatar_weight_list_add (AvatarWeightList *self, const AvatarWeightTable *table, gpointer block,
    const guint *groups, const char *prefix, ...)
{
  g_autofree char *start = NULL;
  va_list args;

  va_start (args, prefix);
  start = g_strdup_vprintf (prefix, args);
  va_end (args);
  for (guint i = 0; i < table->n_rows; i++) {
    const AvatarWeightRow *row = &table->rows[i];
    g_autofree char *name = g_strconcat (start, row->name, NULL);

    add_module (self, (AvatarModuleWeights *) ((guint8 *) block + row->offset), name, row->kind,
        groups[row->group]);
  }
}
