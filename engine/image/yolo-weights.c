/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Binds the modules of YOLOv5-face's yaml. Its sizes l, m and s differ only in widths and depths,
 * which follow from the shapes. A norm y = (x - mean) / sqrt (var + eps) * gamma + beta is folded
 * into the convolution before it. */
#include "engine/image/yolo-weights.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define EPS 1e-3 /* set by yolov5's initialize_weights(), not stored in the file */
#define MAX_CHANNELS 8192
#define MAX_DEPTH 64
#define OUTPUTS 48 /* 3 anchors with 16 columns each */

static const char first_name[] = "0.stem_1.conv.weight";

/* A convolution, the name of its module, and the name of the convolution in the module. */
typedef struct
{
  char *module;
  const char *inner;
  AvatarYoloConv *conv;
} Binding;

typedef struct
{
  AvatarYoloWeights *self;
  GArray *bindings;    /* Binding */
  GHashTable *tensors; /* name from "model." on -> AvatarTensorSource */
  AvatarTensorFile *file;
  char *prefix; /* prefix of these names in the file */
  GError *error;
} Loader;

static void fail (Loader *l, const char *name, const char *format, ...) G_GNUC_PRINTF (3, 4);

static void
fail (Loader *l, const char *name, const char *format, ...)
{
  g_autofree char *full = g_strconcat (l->prefix ? l->prefix : "", name, NULL);
  const char *why = avatar_tensor_file_unusable_reason (l->file, full);
  g_autofree char *text = NULL;
  va_list args;

  if (l->error)
    return;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  l->error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" %s%s%s; expected a YOLOv5-face detector (l, m or s) such as "
      "det_align/detface.pt of tencent/HunyuanVideo-Avatar; set the face box (face-box) to run "
      "without a detector",
      avatar_tensor_file_get_name (l->file), full, text, why ? ", because " : "", why ? why : "");
}

static const AvatarTensorSource *
look_up (Loader *l, const char *module, const char *suffix)
{
  g_autofree char *name = g_strconcat (module, suffix, NULL);

  return g_hash_table_lookup (l->tensors, name);
}

/* Returns the vector @module + @suffix of @n values, or NULL after a failure. */
static const AvatarTensorSource *
require_vector (Loader *l, const char *module, const char *suffix, gint64 n)
{
  const AvatarTensorSource *t = look_up (l, module, suffix);
  g_autofree char *name = g_strconcat (module, suffix, NULL);
  g_autofree char *found = t ? avatar_tensor_source_describe (t) : NULL;

  if (t && t->rank == 1 && t->shape[0] == n && t->dtype <= AVATAR_BF16)
    return t;
  if (t)
    fail (l, name, "is %s instead of %" G_GINT64_FORMAT " floats", found, n);
  else
    fail (l, name, "is missing");
  return NULL;
}

static gboolean
is_conv (const AvatarTensorSource *t, gint64 in, guint kernel)
{
  return t->rank == 4 && t->dtype <= AVATAR_BF16 && t->shape[0] >= 1 && t->shape[0] <= MAX_CHANNELS
      && in <= MAX_CHANNELS && t->shape[1] == in && t->shape[2] == kernel && t->shape[3] == kernel;
}

/* Binds @c to a convolution with @in input channels, whose tensor names start with @module +
 * @inner, a static string. Returns the number of output channels, or 0 after a failure. */
static gint64
bind_conv_at (Loader *l, AvatarYoloConv *c, const char *module, const char *inner, gint64 in,
    guint kernel)
{
  g_autofree char *name = g_strconcat (module, inner, ".weight", NULL);
  g_autofree char *bias = g_strconcat (inner, ".bias", NULL);
  const AvatarTensorSource *t = g_hash_table_lookup (l->tensors, name);
  gint64 out = t ? t->shape[0] : 0;
  Binding binding = { NULL, inner, c };

  if (in > 0 && !t)
    fail (l, name, "is missing");
  else if (in > 0 && !is_conv (t, in, kernel)) {
    g_autofree char *found = avatar_tensor_source_describe (t);

    fail (l, name, "is %s instead of [any, %" G_GINT64_FORMAT ", %u, %u] floats", found, in, kernel,
        kernel);
  }
  if (in > 0 && !l->error && !look_up (l, module, ".bn.weight"))
    require_vector (l, module, bias, out);
  if (in == 0 || l->error)
    return 0;
  *c = (AvatarYoloConv){ avatar_tensor (AVATAR_F32, NULL, 2, out, (gint64) kernel * kernel * in),
    avatar_tensor (AVATAR_F32, NULL, 1, out), kernel };
  binding.module = g_strdup (module);
  g_array_append_val (l->bindings, binding);
  return out;
}

/* Binds the convolution ".conv" of @module. */
static gint64
bind_conv (Loader *l, AvatarYoloConv *c, const char *module, gint64 in, guint kernel)
{
  return bind_conv_at (l, c, module, ".conv", in, kernel);
}

/* Binds layer @index, a 3 x 3 or 1 x 1 convolution. */
static gint64
bind_layer (Loader *l, guint index, gint64 in, guint kernel)
{
  g_autofree char *module = g_strdup_printf ("%u", index);

  return bind_conv (l, &l->self->conv[index], module, in, kernel);
}

/* Binds module @name of layer @index, a 1 x 1 convolution. */
static gint64
bind_inner (Loader *l, AvatarYoloConv *c, guint index, const char *name, gint64 in)
{
  g_autofree char *module = g_strdup_printf ("%u.%s", index, name);

  return bind_conv (l, c, module, in, 1);
}

static gint64
bind_stem (Loader *l, gint64 in)
{
  AvatarYoloStem *s = &l->self->stem;
  gint64 first = bind_conv (l, &s->stem_1, "0.stem_1", in, 3);
  gint64 a = bind_conv (l, &s->stem_2a, "0.stem_2a", first, 1);
  gint64 b = bind_conv (l, &s->stem_2b, "0.stem_2b", a, 3);

  return bind_conv (l, &s->stem_3, "0.stem_3", b ? b + first : 0, 1);
}

static guint
count_bottlenecks (Loader *l, guint index)
{
  guint n = 0;

  for (; n < MAX_DEPTH; n++) {
    g_autofree char *module = g_strdup_printf ("%u.m.%u", index, n);

    if (!look_up (l, module, ".cv1.conv.weight"))
      break;
  }
  return n;
}

/* Binds bottleneck @j of layer @index, with @in channels. */
static void
bind_bottleneck (Loader *l, guint index, guint j, gint64 in)
{
  AvatarYoloBottleneck *m = &l->self->c3[index].m[j];
  g_autofree char *p = g_strdup_printf ("%u.m.%u", index, j);
  g_autofree char *cv1 = g_strconcat (p, ".cv1", NULL), *cv2 = g_strconcat (p, ".cv2", NULL);
  gint64 out = bind_conv (l, &m->cv2, cv2, bind_conv (l, &m->cv1, cv1, in, 1), 3);

  if (out && out != in)
    fail (l, p, "has %" G_GINT64_FORMAT " output channels and %" G_GINT64_FORMAT " input channels",
        out, in);
}

static gint64
bind_c3 (Loader *l, guint index, gint64 in)
{
  AvatarYoloC3 *c3 = &l->self->c3[index];
  gint64 a = bind_inner (l, &c3->cv1, index, "cv1", in);
  gint64 b = bind_inner (l, &c3->cv2, index, "cv2", in);

  c3->n = count_bottlenecks (l, index);
  c3->m = g_new0 (AvatarYoloBottleneck, c3->n);
  for (guint j = 0; j < c3->n && !l->error; j++)
    bind_bottleneck (l, index, j, a);
  return bind_inner (l, &c3->cv3, index, "cv3", a && b ? a + b : 0);
}

static gint64
bind_spp (Loader *l, guint index, gint64 in)
{
  AvatarYoloSpp *spp = &l->self->spp;

  return bind_inner (l, &spp->cv2, index, "cv2", 4 * bind_inner (l, &spp->cv1, index, "cv1", in));
}

static void
bind_detect (Loader *l, guint grid, gint64 in)
{
  g_autofree char *module = g_strdup_printf ("23.m.%u", grid);
  gint64 n = bind_conv_at (l, &l->self->detect[grid], module, "", in, 1);

  if (n && n != OUTPUTS)
    fail (l, "23.m", "has %" G_GINT64_FORMAT " channels instead of 3 anchors of 16", n);
}

/* Binds all layers by their indices in the yaml. */
static void
bind_all (Loader *l)
{
  gint64 p3, p4, h4, h5, x;

  p3 = bind_c3 (l, 3, bind_layer (l, 2, bind_c3 (l, 1, bind_stem (l, 3)), 3));
  p4 = bind_c3 (l, 5, bind_layer (l, 4, p3, 3));
  x = bind_c3 (l, 8, bind_spp (l, 7, bind_layer (l, 6, p4, 3)));
  h5 = bind_layer (l, 9, x, 1);
  h4 = bind_layer (l, 13, bind_c3 (l, 12, h5 ? h5 + p4 : 0), 1);
  x = bind_c3 (l, 16, h4 ? h4 + p3 : 0);
  bind_detect (l, 0, x);
  x = bind_layer (l, 17, x, 3);
  x = bind_c3 (l, 19, x ? x + h4 : 0);
  bind_detect (l, 1, x);
  x = bind_layer (l, 20, x, 3);
  x = bind_c3 (l, 22, x ? x + h5 : 0);
  bind_detect (l, 2, x);
}

/* Returns the values of @t as float32, or NULL after a failure. */
static float *
read_floats (Loader *l, const AvatarTensorSource *t)
{
  return avatar_tensor_source_read_all (t, l->error ? NULL : &l->error);
}

/* Computes the norm of a module, or only its bias, as y = x * factor + offset. */
static gboolean
read_norm (Loader *l, const Binding *binding, gint64 n, float *factor, float *offset)
{
  static const char *const names[]
      = { ".bn.weight", ".bn.bias", ".bn.running_mean", ".bn.running_var" };
  const char *module = binding->module;
  g_autofree char *bias_name = g_strconcat (binding->inner, ".bias", NULL);
  const AvatarTensorSource *bias = look_up (l, module, bias_name);
  float *v[G_N_ELEMENTS (names) + 1] = { NULL };
  gboolean done, norm = look_up (l, module, ".bn.weight") != NULL;

  if (bias && bias->rank == 1 && bias->shape[0] == n && bias->dtype <= AVATAR_BF16)
    v[4] = read_floats (l, bias);
  for (guint i = 0; i < G_N_ELEMENTS (names) && norm && !l->error; i++) {
    const AvatarTensorSource *t = require_vector (l, module, names[i], n);

    v[i] = t ? read_floats (l, t) : NULL;
  }
  done = !l->error;
  for (gint64 i = 0; i < n && done; i++) {
    factor[i] = norm ? v[0][i] / sqrt (v[3][i] + EPS) : 1;
    offset[i] = v[4] ? v[4][i] : 0;
    if (norm)
      offset[i] = (offset[i] - v[2][i]) * factor[i] + v[1][i];
  }
  for (guint i = 0; i < G_N_ELEMENTS (v); i++)
    g_free (v[i]);
  return done;
}

/* Reads a convolution, permutes it from [out, in, kernel, kernel] to [out, kernel, kernel, in], and
 * folds the norm into it. */
static void
read_conv (Loader *l, const Binding *binding)
{
  const AvatarYoloConv *c = binding->conv;
  g_autofree char *name = g_strconcat (binding->inner, ".weight", NULL);
  const AvatarTensorSource *t = look_up (l, binding->module, name);
  gint64 out = c->w.shape[0], taps = (gint64) c->kernel * c->kernel, in = c->w.shape[1] / taps;
  g_autofree float *factor = g_new (float, out);
  g_autofree float *weights = NULL;
  float *w = c->w.data;

  if (!read_norm (l, binding, out, factor, c->b.data))
    return;
  weights = read_floats (l, t);
  for (gint64 o = 0; o < out && weights; o++)
    for (gint64 tap = 0; tap < taps; tap++)
      for (gint64 i = 0; i < in; i++)
        *w++ = weights[(o * in + i) * taps + tap] * factor[o];
  if (weights
      && (!avatar_is_finite (c->w.data, avatar_tensor_n (c->w))
          || !avatar_is_finite (c->b.data, out)))
    fail (l, binding->module, "has values that are NaN or infinite");
}

/* Allocates the memory of all convolutions from @arena, which may be a dry run. */
static void
alloc_convs (const Loader *l, AvatarArena *arena)
{
  for (guint i = 0; i < l->bindings->len; i++) {
    AvatarYoloConv *c = g_array_index (l->bindings, Binding, i).conv;

    c->w.data = avatar_arena_push (arena, avatar_tensor_bytes (c->w));
    c->b.data = avatar_arena_push (arena, avatar_tensor_bytes (c->b));
  }
}

static gboolean
read_convs (Loader *l, AvatarDevice *device)
{
  g_autoptr (AvatarArena) dry_run = avatar_arena_new_dry_run ();

  alloc_convs (l, dry_run);
  l->self->arena = avatar_arena_new (device, avatar_arena_peak (dry_run),
      "the weights of the face detector", &l->error);
  if (!l->self->arena)
    return FALSE;
  alloc_convs (l, l->self->arena);
  for (guint i = 0; i < l->bindings->len && !l->error; i++)
    read_conv (l, &g_array_index (l->bindings, Binding, i));
  return !l->error;
}

/* Reads the anchors, which are stored in units of the grid's stride, or uses those of the yaml. */
static void
read_anchors (Loader *l)
{
  static const float built_in[AVATAR_YOLO_GRIDS][AVATAR_YOLO_ANCHORS][2]
      = { { { 4, 5 }, { 8, 10 }, { 13, 16 } }, { { 23, 29 }, { 43, 55 }, { 73, 105 } },
          { { 146, 217 }, { 231, 300 }, { 335, 433 } } };
  const AvatarTensorSource *t = g_hash_table_lookup (l->tensors, "23.anchors");
  float (*anchors)[AVATAR_YOLO_ANCHORS][2] = l->self->anchors;
  g_autofree float *values = NULL;

  memcpy (anchors, built_in, sizeof built_in);
  if (!t)
    return;
  if (t->rank != 3 || t->shape[0] != AVATAR_YOLO_GRIDS || t->shape[1] != AVATAR_YOLO_ANCHORS
      || t->shape[2] != 2 || t->dtype > AVATAR_BF16) {
    g_autofree char *found = avatar_tensor_source_describe (t);

    fail (l, "23.anchors", "is %s instead of [3, 3, 2] floats", found);
    return;
  }
  values = read_floats (l, t);
  if (!values)
    return;
  memcpy (anchors, values, sizeof built_in);
  for (guint grid = 0; grid < AVATAR_YOLO_GRIDS; grid++)
    for (guint i = 0; i < AVATAR_YOLO_ANCHORS; i++)
      for (guint k = 0; k < 2; k++) {
        anchors[grid][i][k] *= 8 << grid;
        if (!isfinite (anchors[grid][i][k]) || anchors[grid][i][k] <= 0)
          fail (l, "23.anchors", "has a size that is not a positive number");
      }
}

/* Lists the tensors by their names without the prefix, which depends on the surrounding module. */
static void
list_tensors (Loader *l)
{
  guint n = avatar_tensor_file_n (l->file);

  for (guint i = 0; i < n && !l->prefix; i++) {
    const char *name = avatar_tensor_file_nth (l->file, i, NULL);

    if (g_str_has_suffix (name, first_name))
      l->prefix = g_strndup (name, strlen (name) - strlen (first_name));
  }
  for (guint i = 0; i < n && l->prefix; i++) {
    AvatarTensorSource t;
    const char *name = avatar_tensor_file_nth (l->file, i, &t);

    if (g_str_has_prefix (name, l->prefix))
      g_hash_table_insert (l->tensors, g_strdup (name + strlen (l->prefix)),
          g_memdup2 (&t, sizeof t));
  }
}

static void
binding_clear (gpointer data)
{
  g_free (((Binding *) data)->module);
}

gboolean
avatar_yolo_weights_init (AvatarYoloWeights *self, AvatarTensorFile *file, AvatarDevice *device,
    GError **error)
{
  g_autoptr (GHashTable) tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (GArray) bindings = g_array_new (FALSE, FALSE, sizeof (Binding));
  Loader l = { self, bindings, tensors, file, NULL, NULL };

  g_array_set_clear_func (bindings, binding_clear);
  list_tensors (&l);
  bind_all (&l);
  if (!l.error)
    read_anchors (&l);
  if (!l.error)
    read_convs (&l, device);
  g_free (l.prefix);
  if (l.error)
    g_propagate_error (error, l.error);
  return !l.error;
}

void
avatar_yolo_weights_clear (AvatarYoloWeights *self)
{
  for (guint i = 0; i < AVATAR_YOLO_LAYERS; i++)
    g_clear_pointer (&self->c3[i].m, g_free);
  g_clear_pointer (&self->arena, avatar_arena_free);
}
