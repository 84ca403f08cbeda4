/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights are in one of three places: as float32 in one arena of the host, which stages share;
 * in the device streamer; or in the host streamer. The arena of a dry run is filled by the same
 * code, so its size is the size of a run. */
#include "engine/weights/weights.h"

#include "engine/device/device.h"
#include "engine/formats/tensor-source.h"
#include "engine/model/lora.h"
#include "engine/model/model.h"
#include "engine/weights/device-streamer.h"
#include "engine/weights/host-streamer.h"
#include "engine/weights/shared.h"

#include <math.h>

/* Number of values to which LoRAs are added by one thread at a time. */
#define LORA_PIECE ((gint64) 1 << 19)

/* Indices of a tensor: its group, and the tensor in the group. */
typedef struct
{
  guint group, tensor;
} Location;

/* A weight that is made again when the multiplier of a LoRA changes.
 * @index: index in the list of weights
 * @scale: its factors; unset if it has none */
typedef struct
{
  guint index;
  char *name;
  AvatarTensorSource source, scale;
} Remade;

struct _AvatarWeights
{
  AvatarModel *model; /* (nullable): owner of the tensors; NULL: the caller */
  AvatarComponentKind component;
  const char *file; /* (nullable): name of the file for errors */
  AvatarDevice *device;
  GPtrArray *loras, *scheduled;
  double *multipliers; /* (nullable): one for each of @scheduled */
  GArray *remade;      /* (nullable): array of Remade */
  /* Weights that are always in memory. */
  AvatarSharedWeights own;     /* without a model, with LoRAs, or in a dry run */
  AvatarSharedWeights *shared; /* weights of all stages with this model and device, or @own */
  /* Weights in groups. */
  GArray *groups;           /* array of AvatarWeightGroup, or NULL */
  Location *locations;      /* by index in the list */
  AvatarWeightStore *store; /* NULL: without groups, or in a dry run */
};

/* Reads all of @source into @view, which is float32, and multiplies it by its scale factors.
 * @scale: (nullable): one factor, or one for each row */
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

/* Adds LoRAs, times @multipliers (nullable), to @view, the weight @name, some rows at a time. */
static void
add_deltas (AvatarTensor view, const char *name, GPtrArray *loras, const double *multipliers)
{
  gint64 rows = view.shape[0], cols = avatar_tensor_n (view) / MAX (rows, 1);
  gint64 step = MAX (1, LORA_PIECE / MAX (cols, 1));

#pragma omp parallel for schedule(dynamic)
  for (gint64 start = 0; start < rows; start += step) {
    gint64 end = MIN (start + step, rows);
    g_autofree float *delta = avatar_lora_sum (loras, multipliers, name, start, end, cols);
    float *out = (float *) view.data + start * cols;

    for (gint64 i = 0; i < (end - start) * cols; i++)
      out[i] += delta[i];
  }
}

/* Parameters of loading. */
typedef struct
{
  AvatarWeights *self;
  GHashTable *tensors;
  const AvatarWeightList *list;
  AvatarWeightsMode mode;
} Load;

/* Fills @view from @source with its factors @scale (nullable), and adds LoRAs. */
static gboolean
fill_view (AvatarWeights *self, AvatarTensor view, const AvatarTensorSource *source,
    const AvatarTensorSource *scale, const char *name, GError **error)
{
  if (!convert (view, source, scale, error))
    return FALSE;
  if (avatar_lora_touches (self->loras, name))
    add_deltas (view, name, self->loras, NULL);
  if (avatar_lora_touches (self->scheduled, name))
    add_deltas (view, name, self->scheduled, self->multipliers);
  return TRUE;
}

/* Fills @view, the @i-th weight, and remembers what is needed to make it again. */
static gboolean
load_view (AvatarTensor view, guint i, const AvatarTensorSource *source, const char *name,
    const Load *load, GError **error)
{
  g_autofree char *scale_name = g_strconcat (name, "_scale", NULL);
  const AvatarTensorSource *scale = g_hash_table_lookup (load->tensors, scale_name);
  AvatarWeights *self = load->self;

  if (avatar_lora_touches (self->scheduled, name)) {
    Remade remade = { .index = i, .name = g_strdup (name), .source = *source };

    if (scale)
      remade.scale = *scale;
    g_array_append_val (self->remade, remade);
  }
  return fill_view (self, view, source, scale, name, error);
}

/* Allocates all tensors of the list in @arena, and reads them unless it is the arena of a dry run.
 * @views: (nullable): array of AvatarTensor, to which they are appended in the order of the list */
static gboolean
make_views (AvatarArena *arena, const Load *load, GArray *views, GError **error)
{
  for (guint i = 0; i < load->list->entries->len; i++) {
    const char *name = avatar_weight_list_nth (load->list, i)->name;
    const AvatarTensorSource *source = g_hash_table_lookup (load->tensors, name);
    AvatarTensor view = avatar_tensor_of_shape (AVATAR_F32, NULL, source->rank, source->shape);

    view.data = avatar_arena_push (arena, avatar_tensor_bytes (view));
    if (!avatar_arena_is_dry_run (arena) && !load_view (view, i, source, name, load, error))
      return FALSE;
    if (views)
      g_array_append_val (views, view);
  }
  return TRUE;
}

/* AvatarSharedLoad */
static gboolean
load_arena (AvatarSharedWeights *weights, gpointer data, GError **error)
{
  const Load *load = data;

  weights->arena = avatar_arena_new_dry_run ();
  if (load->mode == AVATAR_WEIGHTS_LOAD) {
    g_autofree char *purpose
        = g_strdup_printf ("the weights of the %s", avatar_component_name (load->self->component));
    gsize bytes;

    make_views (weights->arena, load, NULL, NULL);
    bytes = avatar_arena_peak (weights->arena);
    avatar_arena_free (weights->arena);
    weights->arena = avatar_arena_new (load->self->device, bytes, purpose, error);
    if (!weights->arena)
      return FALSE;
  }
  weights->views = g_array_new (FALSE, FALSE, sizeof (AvatarTensor));
  return make_views (weights->arena, load, weights->views, error);
}

static gboolean
init_arena (AvatarWeights *self, Load *load, GError **error)
{
  g_autofree char *names = NULL;

  if (load->mode == AVATAR_WEIGHTS_SHAPES_ONLY || !self->model
      || (self->loras && self->loras->len > 0) || self->scheduled) {
    self->shared = &self->own;
    return load_arena (&self->own, load, error);
  }
  names = avatar_weight_list_checksum (load->list);
  self->shared = avatar_shared_weights_acquire (&(AvatarSharedKey){ self->model, self->device,
                                                    self->component, names },
      load_arena, load, error);
  return self->shared != NULL;
}

AvatarDType
avatar_weights_dtype (AvatarDevice *device, const AvatarWeightSettings *settings)
{
  AvatarDType native = avatar_device_get_backend (device)->activation;

  return settings->half && native == AVATAR_BF16 ? AVATAR_F16 : native;
}

/* Fills @locations for a list of @n entries. */
static void
locate (AvatarWeights *self, guint n)
{
  self->locations = g_new0 (Location, n);
  for (guint i = 0; i < self->groups->len; i++) {
    GArray *tensors = avatar_weight_group_nth (self->groups, i)->tensors;

    for (guint j = 0; j < tensors->len; j++)
      self->locations[g_array_index (tensors, AvatarPackedTensor, j).entry] = (Location){ i, j };
  }
}

static gboolean
init_groups (AvatarWeights *self, const Load *load, const AvatarWeightSettings *settings,
    GError **error)
{
  self->groups = avatar_pack_plan (load->tensors, load->list, settings,
      avatar_weights_dtype (self->device, settings));
  locate (self, load->list->entries->len);
  if (!avatar_pack_check (self->groups, error))
    return FALSE;
  if (load->mode == AVATAR_WEIGHTS_SHAPES_ONLY)
    return TRUE;
  self->store = avatar_device_get_backend (self->device)->discrete
      ? avatar_device_streamer_new (self->device, self->groups, settings->pinned_bytes, error)
      : avatar_host_streamer_new (self->device, self->groups, error);
  return self->store != NULL;
}

static gboolean
is_weight (const AvatarTensorSource *t)
{
  return t && (t->dtype <= AVATAR_F8_E4M3 || t->dtype == AVATAR_I8);
}

static gboolean
check_names (AvatarWeights *self, const Load *load, GError **error)
{
  for (guint i = 0; i < load->list->entries->len; i++) {
    const char *name = avatar_weight_list_nth (load->list, i)->name;
    const AvatarTensorSource *t = g_hash_table_lookup (load->tensors, name);

    if (is_weight (t))
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: the %s needs tensor \"%s\", which %s; download or convert the file again",
        self->file ? self->file : "weights", avatar_component_name (self->component), name,
        t ? "has an integer dtype" : "is missing");
    return FALSE;
  }
  return TRUE;
}

/* Fills the handles of @list. */
static void
bind (AvatarWeights *self, const AvatarWeightList *list)
{
  for (guint i = 0; i < list->entries->len; i++)
    *avatar_weight_list_nth (list, i)->handle = (AvatarWeight){ self, i };
}

static void
remade_clear (gpointer data)
{
  g_free (((Remade *) data)->name);
}

/* Sets the LoRAs whose multipliers change. */
static void
set_scheduled (AvatarWeights *self, GPtrArray *loras)
{
  self->scheduled = g_ptr_array_ref (loras);
  self->multipliers = g_new (double, loras->len);
  for (guint i = 0; i < loras->len; i++)
    self->multipliers[i] = 1;
  self->remade = g_array_new (FALSE, FALSE, sizeof (Remade));
  g_array_set_clear_func (self->remade, remade_clear);
}

/* Completes @weights, which has the model and the file. Takes ownership of it. */
static AvatarWeights *
open_weights (AvatarWeights *weights, Load *load, const AvatarWeightSettings *settings,
    GError **error)
{
  static const AvatarWeightSettings as_stored = { .pinned_bytes = G_MAXUINT64 };
  g_autoptr (AvatarWeights) self = weights;
  gboolean ok;

  load->self = self;
  if (settings && settings->loras)
    self->loras = g_ptr_array_ref (settings->loras);
  if (settings && settings->scheduled_loras && settings->scheduled_loras->len > 0)
    set_scheduled (self, settings->scheduled_loras);
  if (!check_names (self, load, error))
    return NULL;
  if (avatar_device_get_backend (self->device)->discrete || (settings && settings->one_shot))
    ok = init_groups (self, load, settings ? settings : &as_stored, error);
  else
    ok = init_arena (self, load, error);
  if (!ok)
    return NULL;
  bind (self, load->list);
  return g_steal_pointer (&self);
}

AvatarWeights *
avatar_weights_new_from_table (GHashTable *tensors, AvatarDevice *device,
    AvatarComponentKind component, const AvatarWeightList *list,
    const AvatarWeightSettings *settings, AvatarWeightsMode mode, GError **error)
{
  AvatarWeights *self = g_new0 (AvatarWeights, 1);
  Load load = { self, tensors, list, mode };

  self->component = component;
  self->device = avatar_device_ref (device);
  return open_weights (self, &load, settings, error);
}

AvatarWeights *
avatar_weights_new (AvatarModel *model, AvatarDevice *device, AvatarComponentKind component,
    const AvatarWeightList *list, const AvatarWeightSettings *settings, AvatarWeightsMode mode,
    GError **error)
{
  const char *file = NULL;
  GHashTable *tensors = avatar_model_get_component (model, component, &file);
  Load load = { NULL, tensors, list, mode };
  AvatarWeights *self;

  g_assert (tensors); /* callers check that the model has the component */
  if (mode == AVATAR_WEIGHTS_LOAD && !avatar_model_has_weights (model)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "\"%s\" has sizes only, which suffice for a plan; set the folder of a model to run it",
        avatar_model_get_path (model));
    return NULL;
  }
  self = g_new0 (AvatarWeights, 1);
  self->component = component;
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
  if (self->store)
    self->store->klass->free (self->store);
  g_free (self->locations);
  g_clear_pointer (&self->groups, g_array_unref);
  if (self->shared != &self->own)
    avatar_shared_weights_release (self->shared);
  g_clear_pointer (&self->own.views, g_array_unref);
  avatar_arena_free (self->own.arena);
  avatar_device_unref (self->device);
  g_clear_pointer (&self->model, avatar_model_unref);
  g_clear_pointer (&self->loras, g_ptr_array_unref);
  g_clear_pointer (&self->scheduled, g_ptr_array_unref);
  g_clear_pointer (&self->remade, g_array_unref);
  g_free (self->multipliers);
  g_free (self);
}

guint64
avatar_weights_fixed_bytes (AvatarWeights *self)
{
  if (!self->groups)
    return avatar_arena_peak (self->shared->arena);
  if (!avatar_device_get_backend (self->device)->discrete)
    return avatar_host_streamer_bytes (self->groups);
  return avatar_device_get_allocation_size (self->device,
      avatar_weight_group_nth (self->groups, self->groups->len - 1)->bytes);
}

guint64
avatar_weights_file_bytes (AvatarWeights *self)
{
  guint64 bytes = 0;

  for (guint i = 0; self->groups && i < self->groups->len; i++) {
    GArray *tensors = avatar_weight_group_nth (self->groups, i)->tensors;

    for (guint j = 0; j < tensors->len; j++)
      bytes += avatar_tensor_source_size (&g_array_index (tensors, AvatarPackedTensor, j).source);
  }
  return bytes;
}

GArray *
avatar_weights_get_groups (AvatarWeights *self)
{
  return self->groups;
}

gboolean
avatar_weights_set_schedule (AvatarWeights *self, AvatarOps *ops,
    const AvatarWeightSchedule *schedule, GError **error)
{
  return !self->store || self->store->klass->set_schedule (self->store, ops, schedule, error);
}

void
avatar_weights_drop_schedule (AvatarWeights *self)
{
  if (self->store)
    self->store->klass->drop_schedule (self->store);
}

void
avatar_weights_release (AvatarWeights *self, AvatarOps *ops, guint group)
{
  if (self->store)
    self->store->klass->release (self->store, ops, group);
}

/* Returns the packed buffer of @group, or NULL if the group is not acquired.
 * @scratch: (out): memory of its expanded tensors, or NULL */
static guint8 *
get_memory (AvatarWeights *self, guint group, guint8 **scratch)
{
  *scratch = NULL;
  return self->store ? self->store->klass->get_memory (self->store, group, scratch) : NULL;
}

/* Returns @p of @group as the model computes with it; without data if the group is not acquired. */
static AvatarTensor
group_view (AvatarWeights *self, guint group, const AvatarPackedTensor *p)
{
  AvatarTensor t = avatar_tensor_of_shape (p->expands ? p->expanded : p->dtype, NULL,
      p->source.rank, p->source.shape);
  guint8 *scratch, *memory = get_memory (self, group, &scratch);

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

/* Enqueues w += up down^T on the expanded copy of @p, in pieces of the rows that other operations
 * process at a time. */
static void
add_loras (AvatarWeights *self, AvatarOps *ops, guint group, const AvatarPackedTensor *p)
{
  AvatarTensor w = group_view (self, group, p);
  AvatarTensor up = avatar_tensor (p->expanded, NULL, 2, w.shape[0], p->rank);
  AvatarTensor down = avatar_tensor (p->expanded, NULL, 2, w.shape[1], p->rank);
  guint8 *scratch, *memory = get_memory (self, group, &scratch);

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

/* Enqueues w += multiplier up down^T + multiplier diff on the expanded copy of @p. */
static void
add_scheduled (AvatarWeights *self, AvatarOps *ops, guint group, const AvatarPackedTensor *p,
    const AvatarPackedLora *s)
{
  AvatarTensor w = group_view (self, group, p), diff = w;
  AvatarTensor up = avatar_tensor (p->expanded, NULL, 2, w.shape[0], MAX (s->rank, 1));
  AvatarTensor down = avatar_tensor (p->expanded, NULL, 2, w.shape[w.rank - 1], MAX (s->rank, 1));
  double multiplier = self->multipliers[s->index];
  guint8 *scratch, *memory = get_memory (self, group, &scratch);

  if (memory) {
    up.data = memory + s->up_offset;
    down.data = memory + s->down_offset;
    diff.data = memory + s->diff_offset;
  }
  for (gint64 r = 0; s->rank && r < w.shape[0]; r += ops->row_chunk) {
    gint64 n = MIN (ops->row_chunk, w.shape[0] - r);
    gsize mark = avatar_ops_mark (ops);
    AvatarTensor scaled = avatar_ops_alloc_as (ops, p->expanded, 2, n, s->rank);

    avatar_op_axpby (ops, scaled, multiplier, avatar_tensor_rows (up, r, n), 0);
    avatar_op_linear_add (ops, avatar_tensor_rows (w, r, n), scaled, down, AVATAR_NO_TENSOR,
        AVATAR_NO_TENSOR, AVATAR_NO_TENSOR);
    avatar_ops_release (ops, mark);
  }
  if (s->has_diff)
    avatar_op_axpby (ops, w, multiplier, diff, 1);
}

/* Enqueues what all scheduled LoRAs add to @p. In a run, those with multiplier 0 are left out. */
static void
add_all_scheduled (AvatarWeights *self, AvatarOps *ops, guint group, const AvatarPackedTensor *p)
{
  for (guint i = 0; p->scheduled && i < p->scheduled->len; i++) {
    const AvatarPackedLora *s = &g_array_index (p->scheduled, AvatarPackedLora, i);

    if (ops->dry_run || self->multipliers[s->index] != 0)
      add_scheduled (self, ops, group, p, s);
  }
}

/* Makes the weights in the host's memory again. */
static gboolean
remake (AvatarWeights *self, GError **error)
{
  for (guint i = 0; i < self->remade->len; i++) {
    const Remade *r = &g_array_index (self->remade, Remade, i);
    AvatarTensor view = g_array_index (self->shared->views, AvatarTensor, r->index);

    if (!fill_view (self, view, &r->source,
            avatar_tensor_source_is_set (&r->scale) ? &r->scale : NULL, r->name, error))
      return FALSE;
  }
  return TRUE;
}

void
avatar_weights_set_multipliers (AvatarWeights *self, AvatarOps *ops, const double *multipliers)
{
  gboolean changed = FALSE;
  GError *error = NULL;

  if (!self->scheduled || !avatar_ops_running (ops))
    return;
  for (guint i = 0; i < self->scheduled->len; i++) {
    changed |= self->multipliers[i] != multipliers[i];
    self->multipliers[i] = multipliers[i];
  }
  if (!changed || self->groups || remake (self, &error))
    return;
  self->multipliers[0] = NAN; /* differs from any value, so that the next call makes them again */
  ops->error = error;
}

void
avatar_weights_acquire (AvatarWeights *self, AvatarOps *ops, guint group)
{
  GArray *tensors;

  if (self->store)
    self->store->klass->acquire (self->store, ops, group);
  if (!self->groups || (!self->loras && !self->scheduled))
    return;
  tensors = avatar_weight_group_nth (self->groups, group)->tensors;
  for (guint j = 0; j < tensors->len; j++) {
    const AvatarPackedTensor *p = &g_array_index (tensors, AvatarPackedTensor, j);

    if (p->rank)
      add_loras (self, ops, group, p);
    add_all_scheduled (self, ops, group, p);
  }
}

AvatarTensor
avatar_weight_tensor (AvatarWeight weight)
{
  AvatarWeights *self = weight.weights;
  const Location *location;
  GArray *tensors;

  if (!self)
    return AVATAR_NO_TENSOR;
  if (!self->groups)
    return g_array_index (self->shared->views, AvatarTensor, weight.index);
  location = &self->locations[weight.index];
  tensors = avatar_weight_group_nth (self->groups, location->group)->tensors;
  return group_view (self, location->group,
      &g_array_index (tensors, AvatarPackedTensor, location->tensor));
}

void
avatar_weights_get_stats (AvatarWeights *self, AvatarWeightStreamerStats *stats)
{
  *stats = (AvatarWeightStreamerStats){ 0 };
  if (self->store)
    self->store->klass->get_stats (self->store, stats);
}
