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

/* A tensor's place in the units. */
typedef struct
{
  guint unit, tensor;
} Location;

struct _AvatarWeights
{
  AvatarModel *model; /* NULL: the tensors belong to the caller, and must outlive this */
  AvatarComponentKind part;
  const char *file;
  GPtrArray *loras;
  /* the host's memory, where all weights are always there */
  AvatarSharedWeights own;     /* without a model, with LoRAs, or dry */
  AvatarSharedWeights *shared; /* those of all stages with this model and device; or own */
  /* a discrete device, or units that come and go */
  AvatarDevice *device;
  GArray *units;                   /* of AvatarWeightGroup */
  Location *locations;             /* by position in the list */
  AvatarWeightStreamer *residency; /* NULL: dry, or the host's memory */
  AvatarHostStreamer *slot;        /* NULL: dry, or a discrete device */
};

/* Values that are converted at a time. */
#define PIECE 65536

/* @n values of @source from @start as float32. */
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

/* Weights to be loaded, and from what. */
typedef struct
{
  AvatarWeights *self;
  GHashTable *tensors;
  const AvatarWeightList *list;
  AvatarWeightsMode mode;
} HostLoad;

/* Fills @view from @source, with what LoRAs add. */
static gboolean
load_view (AvatarTensor view, const AvatarTensorSource *source, const char *name,
    const HostLoad *load, GError **error)
{
  g_autofree char *scale = g_strconcat (name, "_scale", NULL);

  if (!convert (view, source, g_hash_table_lookup (load->tensors, scale), error))
    return FALSE;
  if (avatar_lora_touches (load->self->loras, name))
    merge (view, name, load->self->loras);
  return TRUE;
}

/* @views: (nullable): of AvatarTensor, appended in the order of the list. Nothing is read into a dry
 * @arena. */
static gboolean
make_views (AvatarArena *arena, const HostLoad *load, GArray *views, GError **error)
{
  for (guint i = 0; i < load->list->entries->len; i++) {
    const char *name = avatar_weight_list_nth (load->list, i)->name;
    const AvatarTensorSource *source = g_hash_table_lookup (load->tensors, name);
    AvatarTensor view = avatar_tensor_of_shape (AVATAR_F32, NULL, source->rank, source->shape);

    view.data = avatar_arena_push (arena, avatar_tensor_bytes (view));
    if (!avatar_arena_is_dry_run (arena) && !load_view (view, source, name, load, error))
      return FALSE;
    if (views)
      g_array_append_val (views, view);
  }
  return TRUE;
}

/* AvatarSharedLoad */
static gboolean
host_load (AvatarSharedWeights *weights, gpointer data, GError **error)
{
  const HostLoad *load = data;

  weights->arena = avatar_arena_new_dry_run ();
  if (load->mode == AVATAR_WEIGHTS_LOAD) {
    g_autofree char *what
        = g_strdup_printf ("the weights of the %s", avatar_component_name (load->self->part));
    gsize bytes;

    make_views (weights->arena, load, NULL, NULL);
    bytes = avatar_arena_peak (weights->arena);
    avatar_arena_free (weights->arena);
    weights->arena = avatar_arena_new (load->self->device, bytes, what, error);
    if (!weights->arena)
      return FALSE;
  }
  weights->views = g_array_new (FALSE, FALSE, sizeof (AvatarTensor));
  return make_views (weights->arena, load, weights->views, error);
}

static gboolean
host_init (AvatarWeights *self, HostLoad *load, GError **error)
{
  g_autofree char *names = NULL;

  if (load->mode == AVATAR_WEIGHTS_SHAPES_ONLY || !self->model
      || (self->loras && self->loras->len > 0)) {
    self->shared = &self->own;
    return host_load (&self->own, load, error);
  }
  names = avatar_weight_list_checksum (load->list);
  self->shared = avatar_shared_weights_acquire (&(AvatarSharedKey){ self->model, self->device,
                                                    self->part, names },
      host_load, load, error);
  return self->shared != NULL;
}

AvatarDType
avatar_weights_dtype (AvatarDevice *device, gboolean half)
{
  AvatarDType own = avatar_device_get_backend (device)->activation;

  return half && own == AVATAR_BF16 ? AVATAR_F16 : own;
}

static void
locate (AvatarWeights *self, guint n)
{
  self->locations = g_new0 (Location, n);
  for (guint i = 0; i < self->units->len; i++) {
    GArray *tensors = g_array_index (self->units, AvatarWeightGroup, i).tensors;

    for (guint j = 0; j < tensors->len; j++)
      self->locations[g_array_index (tensors, AvatarPackedTensor, j).entry] = (Location){ i, j };
  }
}

static gboolean
discrete_init (AvatarWeights *self, const HostLoad *load, const AvatarWeightSettings *settings,
    GError **error)
{
  self->units = avatar_pack_plan (load->tensors, load->list, settings,
      avatar_weights_dtype (self->device, settings->half));
  locate (self, load->list->entries->len);
  if (!avatar_pack_check (self->units, error))
    return FALSE;
  if (load->mode == AVATAR_WEIGHTS_SHAPES_ONLY)
    return TRUE;
  if (!avatar_device_get_backend (self->device)->discrete)
    return (self->slot = avatar_host_streamer_new (self->device, self->units, error)) != NULL;
  self->residency = avatar_weight_streamer_new (self->device, self->units, settings->pinned_bytes);
  return avatar_weight_streamer_load_fixed (self->residency, error);
}

static gboolean
is_weight (const AvatarTensorSource *t)
{
  return t && (t->dtype <= AVATAR_F8_E4M3 || t->dtype == AVATAR_I8);
}

static gboolean
check_names (AvatarWeights *self, const HostLoad *load, GError **error)
{
  for (guint i = 0; i < load->list->entries->len; i++) {
    const char *name = avatar_weight_list_nth (load->list, i)->name;
    const AvatarTensorSource *t = g_hash_table_lookup (load->tensors, name);

    if (is_weight (t))
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: tensor \"%s\" is %s, which the %s needs", self->file ? self->file : "weights", name,
        t ? "of no dtype for weights" : "missing", avatar_component_name (self->part));
    return FALSE;
  }
  return TRUE;
}

static void
bind (AvatarWeights *self, const AvatarWeightList *list)
{
  for (guint i = 0; i < list->entries->len; i++)
    *avatar_weight_list_nth (list, i)->handle = (AvatarWeight){ self, i };
}

/* @self: with the model and the file; taken. */
static AvatarWeights *
open_weights (AvatarWeights *taken, HostLoad *load, const AvatarWeightSettings *settings,
    GError **error)
{
  static const AvatarWeightSettings as_stored = { .pinned_bytes = G_MAXUINT64 };
  g_autoptr (AvatarWeights) self = taken;
  gboolean ok;

  load->self = self;
  if (settings && settings->loras)
    self->loras = g_ptr_array_ref (settings->loras);
  if (!check_names (self, load, error))
    return NULL;
  if (avatar_device_get_backend (self->device)->discrete || (settings && settings->once))
    ok = discrete_init (self, load, settings ? settings : &as_stored, error);
  else
    ok = host_init (self, load, error);
  if (!ok)
    return NULL;
  bind (self, load->list);
  return g_steal_pointer (&self);
}

AvatarWeights *
avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device, AvatarComponentKind part,
    const AvatarWeightList *list, const AvatarWeightSettings *settings, AvatarWeightsMode mode,
    GError **error)
{
  AvatarWeights *self = g_new0 (AvatarWeights, 1);
  HostLoad load = { self, tensors, list, mode };

  self->part = part;
  self->device = avatar_device_ref (device);
  return open_weights (self, &load, settings, error);
}

AvatarWeights *
avatar_weights_new (AvatarModel *model, AvatarDevice *device, AvatarComponentKind part,
    const AvatarWeightList *list, const AvatarWeightSettings *settings, AvatarWeightsMode mode,
    GError **error)
{
  const char *file = NULL;
  GHashTable *tensors = avatar_model_get_component (model, part, &file);
  HostLoad load = { NULL, tensors, list, mode };
  AvatarWeights *self;

  g_assert (tensors); /* callers have checked that the model has it */
  if (mode == AVATAR_WEIGHTS_LOAD && !avatar_model_has_weights (model)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "\"%s\" stands for sizes alone, which do for a plan; to run, give the folder of a model",
        avatar_model_get_path (model));
    return NULL;
  }
  self = g_new0 (AvatarWeights, 1);
  self->part = part;
  self->file = file;
  self->model = avatar_model_ref (model);
  self->device = avatar_device_ref (device);
  return open_weights (self, &load, settings, error);
}

void
avatar_weights_free (AvatarWeights *self)
{
  if (!self)
    return;
  avatar_weight_streamer_free (self->residency);
  avatar_host_streamer_free (self->slot);
  g_free (self->locations);
  g_clear_pointer (&self->units, g_array_unref);
  if (self->shared != &self->own)
    avatar_shared_weights_release (self->shared);
  g_clear_pointer (&self->own.views, g_array_unref);
  avatar_arena_free (self->own.arena);
  avatar_device_unref (self->device);
  g_clear_pointer (&self->model, avatar_model_unref);
  g_clear_pointer (&self->loras, g_ptr_array_unref);
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
avatar_weight_tensor (AvatarWeight weight)
{
  AvatarWeights *self = weight.weights;
  const Location *location;
  GArray *tensors;

  if (!self)
    return AVATAR_NO_TENSOR;
  if (!self->units)
    return g_array_index (self->shared->views, AvatarTensor, weight.index);
  location = &self->locations[weight.index];
  tensors = g_array_index (self->units, AvatarWeightGroup, location->unit).tensors;
  return discrete_view (self, location->unit,
      &g_array_index (tensors, AvatarPackedTensor, location->tensor));
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
