/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Float32 views of a part's tensors: mapped where that is possible, else converted once into one
 * arena. A dry one walks the same list, which is why a plan knows the size. */
#include "engine/weights/weights.h"

#include "engine/memory/ledger.h"
#include "engine/weights/model.h"

struct _AvatarWeights
{
  AvatarModel *model; /* NULL: the tensors belong to the caller, and must outlive this */
  char *part;
  const char *file;
  AvatarArena *arena;
  GHashTable *views; /* name -> AvatarTensor */
  char *missing;     /* the first name asked for in vain */
};

static gboolean
usable_in_place (const AvatarTensor *t)
{
  return t->dtype == AVATAR_F32 && GPOINTER_TO_SIZE (t->data) % sizeof (float) == 0;
}

/* Sorted, so that a dry walk and a real one push in the same order. */
static GList *
sorted_names (GHashTable *tensors)
{
  return g_list_sort (g_hash_table_get_keys (tensors), (GCompareFunc) g_strcmp0);
}

static AvatarTensor
make_view (AvatarArena *arena, const AvatarTensor *source)
{
  AvatarTensor view = *source;
  gboolean dry = avatar_arena_is_dry (arena);

  view.dtype = AVATAR_F32;
  if (usable_in_place (source)) {
    if (dry)
      view.data = NULL;
    return view;
  }
  view.data = avatar_arena_push (arena, avatar_tensor_bytes (view));
  if (!dry)
    avatar_dtype_to_f32 (view.data, source->data, source->dtype, avatar_tensor_n (*source));
  return view;
}

static void
make_views (AvatarArena *arena, GHashTable *tensors, GHashTable *views)
{
  g_autoptr (GList) names = sorted_names (tensors);

  for (GList *l = names; l; l = l->next) {
    const AvatarTensor *source = g_hash_table_lookup (tensors, l->data);
    AvatarTensor view;

    if (source->dtype > AVATAR_F8_E4M3)
      continue; /* avatar_model_open() lets none through */
    view = make_view (arena, source);
    if (views)
      g_hash_table_insert (views, g_strdup (l->data), g_memdup2 (&view, sizeof view));
  }
}

AvatarWeights *
avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device, const char *part,
    gboolean dry, GError **error)
{
  AvatarArena *arena = avatar_arena_new_dry ();
  AvatarWeights *self;

  if (!dry) {
    g_autofree char *what = g_strdup_printf ("the weights of the %s", part);
    gsize bytes;

    make_views (arena, tensors, NULL);
    bytes = avatar_arena_peak (arena);
    avatar_arena_free (arena);
    arena = avatar_arena_new (device, bytes, what, error);
    if (!arena)
      return NULL;
  }
  self = g_new0 (AvatarWeights, 1);
  self->part = g_strdup (part);
  self->arena = arena;
  self->views = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  make_views (arena, tensors, self->views);
  return self;
}

AvatarWeights *
avatar_weights_new (AvatarModel *model, AvatarDevice *device, const char *part, gboolean dry,
    GError **error)
{
  const char *file = NULL;
  GHashTable *tensors = avatar_model_get_part (model, part, &file);
  AvatarWeights *self;

  g_assert (tensors); /* the parts' names are the engine's own */
  self = avatar_weights_new_from_table (tensors, device, part, dry, error);
  if (self) {
    self->model = avatar_model_ref (model);
    self->file = file;
  }
  return self;
}

AvatarWeights *
avatar_weights_new_units (AvatarModel *model, AvatarDevice *device, const char *part,
    const AvatarWeightUnits *units, const AvatarWeightSettings *settings, gboolean dry,
    GError **error)
{
  return avatar_weights_new (model, device, part, dry, error);
}

guint64
avatar_weights_fixed_bytes (AvatarWeights *self)
{
  return avatar_weights_bytes (self);
}

guint64
avatar_weights_slots_bytes (AvatarWeights *self, guint n_slots)
{
  return 0;
}

guint64
avatar_weights_route_bytes (AvatarWeights *self, const guint *route, guint n)
{
  return 0;
}

gboolean
avatar_weights_set_route (AvatarWeights *self, AvatarOps *ops, const guint *route, guint n,
    guint64 room, GError **error)
{
  return TRUE;
}

void
avatar_weights_enter (AvatarWeights *self, AvatarOps *ops, guint unit)
{
}

void
avatar_weights_leave (AvatarWeights *self, AvatarOps *ops, guint unit)
{
}

void
avatar_weights_free (AvatarWeights *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->views);
  avatar_arena_free (self->arena);
  g_clear_pointer (&self->model, avatar_model_unref);
  g_free (self->missing);
  g_free (self->part);
  g_free (self);
}

AvatarTensor
avatar_weights_get (AvatarWeights *self, const char *format, ...)
{
  g_autofree char *name = NULL;
  const AvatarTensor *view;
  va_list args;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  view = g_hash_table_lookup (self->views, name);
  if (view)
    return *view;
  if (!self->missing)
    self->missing = g_steal_pointer (&name);
  return AVATAR_NO_TENSOR;
}

gboolean
avatar_weights_has (AvatarWeights *self, const char *name)
{
  return g_hash_table_contains (self->views, name);
}

gboolean
avatar_weights_check (AvatarWeights *self, GError **error)
{
  if (!self->missing)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: tensor \"%s\" is missing, which the %s needs", self->file ? self->file : "weights",
      self->missing, self->part);
  return FALSE;
}

guint64
avatar_weights_bytes (AvatarWeights *self)
{
  return avatar_arena_peak (self->arena);
}
