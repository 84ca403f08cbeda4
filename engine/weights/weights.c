/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views of a part's tensors. On the CPU: float32 in one arena, read once; a dry one walks the same
 * list, which is why a plan knows the size. On a discrete device: wherever their units are. */
#include "engine/weights/weights.h"

#include "engine/device/device.h"
#include "engine/model/lora.h"
#include "engine/formats/tensor-source.h"
#include "engine/model/model.h"
#include "engine/weights/device-streamer.h"
#include "engine/weights/shared.h"
#include "engine/weights/host-streamer.h"

/* Values to which LoRAs are added at a time. */
#define MERGED ((gint64) 1 << 19)

struct _AvatarWeights
{
  AvatarModel *model; /* NULL: the tensors belong to the caller, and must outlive this */
  char *part;
  const char *file;
  GPtrArray *loras;
  char *missing; /* the first name asked for in vain */
  /* the host's memory, where all weights are always there */
  AvatarSharedWeights own;     /* without a model, with LoRAs, or dry */
  AvatarSharedWeights *shared; /* those of all stages with this model and device; or own */
  /* a discrete device, or units that come and go */
  AvatarDevice *device;
  GArray *units;                   /* of AvatarWeightGroup */
  GHashTable *where;               /* name -> index of unit << 16 | of tensor, + 1 */
  AvatarWeightStreamer *residency; /* NULL: dry, or the host's memory */
  AvatarHostStreamer *slot;        /* NULL: dry, or a discrete device */
};

/* Sorted, so that a dry walk and a real one push in the same order. */
static GList *
sorted_names (GHashTable *tensors)
{
  return g_list_sort (g_hash_table_get_keys (tensors), (GCompareFunc) g_strcmp0);
}

/* Reads @source as float32 into @view. @scale: (nullable): factors of an 8-bit tensor. */
static gboolean
convert (AvatarTensor view, const AvatarTensorSource *source, const AvatarTensorSource *scale,
    GError **error)
{
  gint64 rows = view.shape[0], cols = avatar_tensor_n (view) / MAX (rows, 1);
  g_autofree float *factors = NULL;
  float *out = view.data;
  gboolean each_row;

  if (!avatar_tensor_source_read (source, 0, avatar_tensor_n (view), out, error))
    return FALSE;
  if (!scale)
    return TRUE;
  factors = avatar_tensor_source_read_all (scale, error);
  if (!factors)
    return FALSE;
  each_row = avatar_tensor_source_n (scale) > 1;
  for (gint64 r = 0; r < rows; r++)
    for (gint64 i = 0; i < cols; i++)
      out[r * cols + i] *= factors[each_row ? r : 0];
  return TRUE;
}

gboolean
avatar_weights_read (GHashTable *tensors, const char *name, AvatarTensor *t, GError **error)
{
  const AvatarTensorSource *source = g_hash_table_lookup (tensors, name);
  g_autofree char *scale = g_strconcat (name, "_scale", NULL);
  AvatarTensor view = avatar_tensor_of_shape (AVATAR_F32, NULL, source->rank, source->shape);

  view.data = g_malloc (MAX (avatar_tensor_bytes (view), 1));
  if (!convert (view, source, g_hash_table_lookup (tensors, scale), error)) {
    g_free (view.data);
    return FALSE;
  }
  *t = view;
  return TRUE;
}

/* Adds what LoRAs have for @name, some rows at a time. */
static void
merge (AvatarTensor view, const char *name, GPtrArray *loras)
{
  gint64 rows = view.shape[0], cols = avatar_tensor_n (view) / MAX (rows, 1);
  gint64 step = MAX (1, MERGED / MAX (cols, 1));

#pragma omp parallel for schedule(dynamic)
  for (gint64 start = 0; start < rows; start += step) {
    gint64 end = MIN (start + step, rows);
    g_autofree float *delta = avatar_lora_sum (loras, name, start, end, cols);
    float *out = (float *) view.data + start * cols;

    for (gint64 i = 0; i < (end - start) * cols; i++)
      out[i] += delta[i];
  }
}

/* @views: filled; %NULL in a dry walk. */
static gboolean
make_views (AvatarArena *arena, GHashTable *tensors, GPtrArray *loras, GHashTable *views,
    GError **error)
{
  g_autoptr (GList) names = sorted_names (tensors);

  for (GList *l = names; l; l = l->next) {
    const AvatarTensorSource *source = g_hash_table_lookup (tensors, l->data);
    g_autofree char *scale = g_strconcat (l->data, "_scale", NULL);
    AvatarTensor view = avatar_tensor_of_shape (AVATAR_F32, NULL, source->rank, source->shape);
    gboolean dry_run = avatar_arena_is_dry_run (arena);

    if (g_str_has_suffix (l->data, "_scale")
        || (source->dtype > AVATAR_F8_E4M3 && source->dtype != AVATAR_I8))
      continue; /* belongs to another tensor; avatar_model_open() lets none through */
    view.data = avatar_arena_push (arena, avatar_tensor_bytes (view));
    if (!dry_run && !convert (view, source, g_hash_table_lookup (tensors, scale), error))
      return FALSE;
    if (!dry_run && avatar_lora_touches (loras, l->data))
      merge (view, l->data, loras);
    if (views)
      g_hash_table_insert (views, g_strdup (l->data), g_memdup2 (&view, sizeof view));
  }
  return TRUE;
}

/* Weights to be loaded, and from what. */
typedef struct
{
  AvatarWeights *self;
  GHashTable *tensors;
  gboolean dry_run;
} HostLoad;

/* AvatarSharedLoad */
static gboolean
host_load (AvatarSharedWeights *weights, gpointer data, GError **error)
{
  const HostLoad *load = data;
  AvatarWeights *self = load->self;

  weights->arena = avatar_arena_new_dry_run ();
  if (!load->dry_run) {
    g_autofree char *what = g_strdup_printf ("the weights of the %s", self->part);
    gsize bytes;

    make_views (weights->arena, load->tensors, self->loras, NULL, NULL);
    bytes = avatar_arena_peak (weights->arena);
    avatar_arena_free (weights->arena);
    weights->arena = avatar_arena_new (self->device, bytes, what, error);
    if (!weights->arena)
      return FALSE;
  }
  weights->views = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  return make_views (weights->arena, load->tensors, self->loras, weights->views, error);
}

static gboolean
host_init (AvatarWeights *self, GHashTable *tensors, gboolean dry_run, GError **error)
{
  HostLoad load = { self, tensors, dry_run };

  if (dry_run || !self->model || (self->loras && self->loras->len > 0)) {
    self->shared = &self->own;
    return host_load (&self->own, &load, error);
  }
  self->shared = avatar_shared_weights_acquire (self->model, self->device, self->part, host_load,
      &load, error);
  return self->shared != NULL;
}

AvatarDType
avatar_weights_dtype (AvatarDevice *device, gboolean half)
{
  AvatarDType own = avatar_device_get_backend (device)->activation;

  return half && own == AVATAR_BF16 ? AVATAR_F16 : own;
}

static gboolean
discrete_init (AvatarWeights *self, GHashTable *tensors, const AvatarWeightGrouping *units,
    const AvatarWeightSettings *settings, gboolean dry_run, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (self->device);
  static const AvatarWeightSettings as_stored = { .pinned_bytes = G_MAXUINT64 };
  static const AvatarWeightGrouping all_fixed = { 0 };

  self->units
      = avatar_pack_plan (tensors, units ? units : &all_fixed, settings ? settings : &as_stored,
          avatar_weights_dtype (self->device, settings && settings->half));
  self->where = g_hash_table_new (g_str_hash, g_str_equal);
  for (guint i = 0; i < self->units->len; i++) {
    const AvatarWeightGroup *unit = &g_array_index (self->units, AvatarWeightGroup, i);

    for (guint j = 0; j < unit->tensors->len; j++)
      g_hash_table_insert (self->where, g_array_index (unit->tensors, AvatarPackedTensor, j).name,
          GUINT_TO_POINTER ((i << 16 | j) + 1));
  }
  if (!avatar_pack_check (self->units, error))
    return FALSE;
  if (dry_run)
    return TRUE;
  if (!backend->discrete)
    return (self->slot = avatar_host_streamer_new (self->device, self->units, error)) != NULL;
  self->residency = avatar_weight_streamer_new (self->device, self->units,
      (settings ? settings : &as_stored)->pinned_bytes);
  return avatar_weight_streamer_load_fixed (self->residency, error);
}

static AvatarWeights *
weights_new (AvatarModel *model, GHashTable *tensors, const char *file, AvatarDevice *device,
    const char *part, const AvatarWeightGrouping *units, const AvatarWeightSettings *settings,
    gboolean dry_run, GError **error)
{
  g_autoptr (AvatarWeights) self = g_new0 (AvatarWeights, 1);

  self->part = g_strdup (part);
  self->device = avatar_device_ref (device);
  self->file = file;
  if (settings && settings->loras)
    self->loras = g_ptr_array_ref (settings->loras);
  if (model)
    self->model = avatar_model_ref (model);
  if (avatar_device_get_backend (device)->discrete || (settings && settings->once)
          ? discrete_init (self, tensors, units, settings, dry_run, error)
          : host_init (self, tensors, dry_run, error))
    return g_steal_pointer (&self);
  return NULL;
}

AvatarWeights *
avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device, const char *part,
    const AvatarWeightGrouping *units, const AvatarWeightSettings *settings, gboolean dry_run,
    GError **error)
{
  return weights_new (NULL, tensors, NULL, device, part, units, settings, dry_run, error);
}

AvatarWeights *
avatar_weights_new_grouped (AvatarModel *model, AvatarDevice *device, const char *part,
    const AvatarWeightGrouping *units, const AvatarWeightSettings *settings, gboolean dry_run,
    GError **error)
{
  const char *file = NULL;
  GHashTable *tensors = avatar_model_get_component (model, part, &file);

  g_assert (tensors); /* the parts' names are the engine's own */
  if (!dry_run && !avatar_model_has_weights (model)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "\"%s\" stands for sizes alone, which do for a plan; to run, give the folder of a model",
        avatar_model_get_path (model));
    return NULL;
  }
  return weights_new (model, tensors, file, device, part, units, settings, dry_run, error);
}

AvatarWeights *
avatar_weights_new (AvatarModel *model, AvatarDevice *device, const char *part, gboolean dry_run,
    GError **error)
{
  return avatar_weights_new_grouped (model, device, part, NULL, NULL, dry_run, error);
}

void
avatar_weights_free (AvatarWeights *self)
{
  if (!self)
    return;
  avatar_weight_streamer_free (self->residency);
  avatar_host_streamer_free (self->slot);
  g_clear_pointer (&self->where, g_hash_table_unref);
  g_clear_pointer (&self->units, g_array_unref);
  if (self->shared != &self->own)
    avatar_shared_weights_release (self->shared);
  g_clear_pointer (&self->own.views, g_hash_table_unref);
  avatar_arena_free (self->own.arena);
  avatar_device_unref (self->device);
  g_clear_pointer (&self->model, avatar_model_unref);
  g_clear_pointer (&self->loras, g_ptr_array_unref);
  g_free (self->missing);
  g_free (self->part);
  g_free (self);
}

guint64
avatar_weights_fixed_bytes (AvatarWeights *self)
{
  if (!self->units)
    return avatar_arena_peak (self->shared->arena);
  if (!avatar_device_get_backend (self->device)->discrete)
    return avatar_host_streamer_bytes (self->units);
  return avatar_device_get_allocation_size (self->device,
      g_array_index (self->units, AvatarWeightGroup, self->units->len - 1).bytes);
}

guint64
avatar_weights_file_bytes (AvatarWeights *self)
{
  guint64 bytes = 0;

  for (guint i = 0; self->units && i < self->units->len; i++) {
    const AvatarWeightGroup *unit = &g_array_index (self->units, AvatarWeightGroup, i);

    for (guint j = 0; j < unit->tensors->len; j++)
      bytes += avatar_tensor_source_size (
          &g_array_index (unit->tensors, AvatarPackedTensor, j).source);
  }
  return bytes;
}

GArray *
avatar_weights_get_groups (AvatarWeights *self)
{
  return self->units;
}

gboolean
avatar_weights_set_schedule (AvatarWeights *self, AvatarOps *ops, const AvatarWeightSchedule *route,
    GError **error)
{
  return !self->residency
      || avatar_weight_streamer_set_schedule (self->residency, ops, route, error);
}

void
avatar_weights_drop_schedule (AvatarWeights *self)
{
  if (self->residency)
    avatar_weight_streamer_drop_schedule (self->residency);
}

void
avatar_weights_release (AvatarWeights *self, AvatarOps *ops, guint unit)
{
  if (self->residency)
    avatar_weight_streamer_release (self->residency, ops, unit);
  if (self->slot)
    avatar_host_streamer_release (self->slot, unit);
}

/* Where @p of unit @i is now; without data if it is not on the device. */
static AvatarTensor
discrete_view (AvatarWeights *self, guint i, const AvatarPackedTensor *p)
{
  AvatarTensor t = avatar_tensor_of_shape (p->expands ? p->expanded : p->dtype, NULL,
      p->source.rank, p->source.shape);
  guint8 *memory = NULL, *scratch = NULL;

  if (self->residency)
    memory = avatar_weight_streamer_memory (self->residency, i, &scratch);
  if (self->slot)
    memory = avatar_host_streamer_memory (self->slot, i);
  if (!memory)
    return t;
  if (p->expands) {
    t.data = scratch ? scratch + p->expand_offset : NULL;
    return t;
  }
  t.data = memory + p->offset;
  if (avatar_dtype_size (p->dtype) == 1)
    t.scale = (float *) (memory + p->scale_offset);
  return t;
}

/* w += up down^T, on the expanded copy of @p, as many rows at a time as activations have. */
static void
add_loras (AvatarWeights *self, AvatarOps *ops, guint i, const AvatarPackedTensor *p)
{
  AvatarTensor w = discrete_view (self, i, p);
  AvatarTensor up = avatar_tensor (p->expanded, NULL, 2, w.shape[0], p->rank);
  AvatarTensor down = avatar_tensor (p->expanded, NULL, 2, w.shape[1], p->rank);
  guint8 *scratch,
      *memory
      = self->residency ? avatar_weight_streamer_memory (self->residency, i, &scratch) : NULL;

  if (memory) {
    up.data = memory + p->up_offset;
    down.data = memory + p->down_offset;
  }
  for (gint64 r = 0; r < w.shape[0]; r += ops->row_chunk) {
    gint64 n = MIN (ops->row_chunk, w.shape[0] - r);

    avatar_op_linear_add (ops, avatar_tensor_rows (w, r, n), avatar_tensor_rows (up, r, n), down,
        AVATAR_NO_TENSOR, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR);
  }
}

void
avatar_weights_acquire (AvatarWeights *self, AvatarOps *ops, guint unit)
{
  GArray *tensors;

  if (self->residency)
    avatar_weight_streamer_acquire (self->residency, ops, unit);
  if (self->slot)
    avatar_host_streamer_acquire (self->slot, ops, unit);
  if (!self->units || !self->loras)
    return;
  tensors = g_array_index (self->units, AvatarWeightGroup, unit).tensors;
  for (guint j = 0; j < tensors->len; j++)
    if (g_array_index (tensors, AvatarPackedTensor, j).rank)
      add_loras (self, ops, unit, &g_array_index (tensors, AvatarPackedTensor, j));
}

AvatarTensor
avatar_weights_get (AvatarWeights *self, const char *format, ...)
{
  g_autofree char *name = NULL;
  const AvatarTensor *view;
  va_list args;
  guint where;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  if (self->where) {
    where = GPOINTER_TO_UINT (g_hash_table_lookup (self->where, name));
    if (where) {
      guint i = (where - 1) >> 16;
      GArray *tensors = g_array_index (self->units, AvatarWeightGroup, i).tensors;

      return discrete_view (self, i,
          &g_array_index (tensors, AvatarPackedTensor, (where - 1) & 0xffff));
    }
  } else {
    view = g_hash_table_lookup (self->shared->views, name);
    if (view)
      return *view;
  }
  if (!self->missing)
    self->missing = g_steal_pointer (&name);
  return AVATAR_NO_TENSOR;
}

gboolean
avatar_weights_has (AvatarWeights *self, const char *name)
{
  return g_hash_table_contains (self->where ? self->where : self->shared->views, name);
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
  return avatar_weights_fixed_bytes (self);
}

void
avatar_weights_get_stats (AvatarWeights *self, AvatarWeightStreamerStats *stats)
{
  *stats = (AvatarWeightStreamerStats){ 0 };
  if (self->residency)
    avatar_weight_streamer_get_stats (self->residency, stats);
}
