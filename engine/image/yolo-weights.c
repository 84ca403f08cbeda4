/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The modules are those of YOLOv5-face's yaml (l, m and s differ in widths and depths only, which are
 * told by the shapes). A norm y = (x - mean) / sqrt (var + eps) gamma + beta is folded into the convolution
 * before it. */
#include "engine/image/yolo-weights.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define EPS 1e-3 /* yolov5's initialize_weights(); the file has it in its program only */
#define MAX_CHANNELS 8192
#define MAX_DEPTH 64
#define OUTPUTS 48 /* 3 anchors of 16 columns */

static const char first_name[] = "0.stem_1.conv.weight";

typedef struct
{
  AvatarYoloWeights *self;
  GHashTable *tensors; /* name from "model." on -> AvatarTensorSource */
  AvatarTensorFile *file;
  char *prefix; /* what is in front of these names */
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
      "%s: tensor \"%s\" %s%s%s; expected a YOLOv5-face detector (l, m or s), as det_align/detface.pt "
      "of tencent/HunyuanVideo-Avatar; say where the face is (face-box) to do without it",
      avatar_tensor_file_get_name (l->file), full, text, why ? ", because " : "", why ? why : "");
}

static const AvatarTensorSource *
look_up (Loader *l, const char *module, const char *rest)
{
  g_autofree char *name = g_strconcat (module, rest, NULL);

  return g_hash_table_lookup (l->tensors, name);
}

/* The vector module + rest of @n values. */
static const AvatarTensorSource *
demand_vector (Loader *l, const char *module, const char *rest, gint64 n)
{
  const AvatarTensorSource *t = look_up (l, module, rest);
  g_autofree char *name = g_strconcat (module, rest, NULL);
  g_autofree char *found = t ? avatar_tensor_source_describe (t) : NULL;

  if (t && t->rank == 1 && t->shape[0] == n && t->dtype <= AVATAR_BF16)
    return t;
  if (t)
    fail (l, name, "is %s where %" G_GINT64_FORMAT " floats were expected", found, n);
  else
    fail (l, name, "is missing");
  return NULL;
}

/* Takes @module. Its convolution of @in channels, whose tensors begin with module + @inner; returns
 * how many come out, or 0 after a failure. */
static gint64
take (Loader *l, char *module, const char *inner, gint64 in, guint kernel)
{
  g_autofree char *name = g_strconcat (module, inner, ".weight", NULL);
  g_autofree char *bias = g_strconcat (inner, ".bias", NULL);
  const AvatarTensorSource *t = g_hash_table_lookup (l->tensors, name);
  AvatarYoloConv c = { .kernel = kernel };
  gint64 out = t ? t->shape[0] : 0;

  if (in > 0 && !t)
    fail (l, name, "is missing");
  else if (in > 0
      && (t->rank != 4 || t->dtype > AVATAR_BF16 || out < 1 || out > MAX_CHANNELS
          || in > MAX_CHANNELS || t->shape[1] != in || t->shape[2] != kernel
          || t->shape[3] != kernel)) {
    g_autofree char *found = avatar_tensor_source_describe (t);

    fail (l, name, "is %s where [any, %" G_GINT64_FORMAT ", %u, %u] floats were expected", found,
        in, kernel, kernel);
  }
  if (in > 0 && !l->error && !look_up (l, module, ".bn.weight"))
    demand_vector (l, module, bias, out);
  if (in == 0 || l->error) {
    g_free (module);
    return 0;
  }
  c.w = avatar_tensor (AVATAR_F32, NULL, 2, out, (gint64) kernel * kernel * in);
  c.b = avatar_tensor (AVATAR_F32, NULL, 1, out);
  g_hash_table_insert (l->self->convs, module, g_memdup2 (&c, sizeof c));
  return out;
}

static gint64
take_conv (Loader *l, const char *module, gint64 in, guint kernel)
{
  return take (l, g_strdup (module), ".conv", in, kernel);
}

static gint64
take_stem (Loader *l, gint64 in)
{
  gint64 first = take_conv (l, "0.stem_1", in, 3), a = take_conv (l, "0.stem_2a", first, 1);
  gint64 b = take_conv (l, "0.stem_2b", a, 3);

  return take_conv (l, "0.stem_3", b ? b + first : 0, 1);
}

static gint64
take_c3 (Loader *l, guint index, gint64 in)
{
  gint64 a = take (l, g_strdup_printf ("%u.cv1", index), ".conv", in, 1);
  gint64 b = take (l, g_strdup_printf ("%u.cv2", index), ".conv", in, 1);

  for (guint j = 0; j < MAX_DEPTH && !l->error; j++) {
    g_autofree char *p = g_strdup_printf ("%u.m.%u", index, j);
    gint64 inner, out;

    if (!look_up (l, p, ".cv1.conv.weight"))
      break;
    inner = take (l, g_strconcat (p, ".cv1", NULL), ".conv", a, 1);
    out = take (l, g_strconcat (p, ".cv2", NULL), ".conv", inner, 3);
    if (out && out != a)
      fail (l, p, "gives %" G_GINT64_FORMAT " channels and takes %" G_GINT64_FORMAT, out, a);
  }
  return take (l, g_strdup_printf ("%u.cv3", index), ".conv", a && b ? a + b : 0, 1);
}

static gint64
take_spp (Loader *l, guint index, gint64 in)
{
  gint64 n = take (l, g_strdup_printf ("%u.cv1", index), ".conv", in, 1);

  return take (l, g_strdup_printf ("%u.cv2", index), ".conv", 4 * n, 1);
}

static void
take_detect (Loader *l, guint grid, gint64 in)
{
  gint64 n = take (l, g_strdup_printf ("23.m.%u", grid), "", in, 1);

  if (n && n != OUTPUTS)
    fail (l, "23.m", "gives %" G_GINT64_FORMAT " channels where 3 anchors of 16 were expected", n);
}

/* All of the yaml; indices are those of its layers. */
static void
take_all (Loader *l)
{
  gint64 p3, p4, h4, h5, x;

  p3 = take_c3 (l, 3, take_conv (l, "2", take_c3 (l, 1, take_stem (l, 3)), 3));
  p4 = take_c3 (l, 5, take_conv (l, "4", p3, 3));
  x = take_c3 (l, 8, take_spp (l, 7, take_conv (l, "6", p4, 3)));
  h5 = take_conv (l, "9", x, 1);
  h4 = take_conv (l, "13", take_c3 (l, 12, h5 ? h5 + p4 : 0), 1);
  x = take_c3 (l, 16, h4 ? h4 + p3 : 0);
  take_detect (l, 0, x);
  x = take_conv (l, "17", x, 3);
  x = take_c3 (l, 19, x ? x + h4 : 0);
  take_detect (l, 1, x);
  x = take_conv (l, "20", x, 3);
  x = take_c3 (l, 22, x ? x + h5 : 0);
  take_detect (l, 2, x);
}

/* The values of @t as float32; %NULL after a failure. */
static float *
read_floats (Loader *l, const AvatarTensorSource *t)
{
  return avatar_tensor_source_read_all (t, l->error ? NULL : &l->error);
}

/* y = x * factor + offset: the norm of @module, or only a bias. */
static gboolean
read_norm (Loader *l, const char *module, gint64 n, float *factor, float *offset)
{
  static const char *const parts[]
      = { ".bn.weight", ".bn.bias", ".bn.running_mean", ".bn.running_var" };
  const AvatarTensorSource *bias = look_up (l, module, ".conv.bias");
  float *v[G_N_ELEMENTS (parts) + 1] = { NULL };
  gboolean done, norm = look_up (l, module, ".bn.weight") != NULL;

  if (!bias)
    bias = look_up (l, module, ".bias"); /* of the last ones */
  if (bias && bias->rank == 1 && bias->shape[0] == n && bias->dtype <= AVATAR_BF16)
    v[4] = read_floats (l, bias);
  for (guint i = 0; i < G_N_ELEMENTS (parts) && norm && !l->error; i++) {
    const AvatarTensorSource *t = demand_vector (l, module, parts[i], n);

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

/* [out, in, kernel, kernel] to [out, kernel, kernel, in], with the norm. */
static void
fill (Loader *l, const char *module, AvatarYoloConv *c)
{
  const AvatarTensorSource *t = look_up (l, module, ".conv.weight");
  gint64 out = c->w.shape[0], taps = (gint64) c->kernel * c->kernel, in = c->w.shape[1] / taps;
  g_autofree float *factor = g_new (float, out);
  g_autofree float *weights = NULL;
  float *w = c->w.data;

  if (!t)
    t = look_up (l, module, ".weight");
  if (!read_norm (l, module, out, factor, c->b.data))
    return;
  weights = read_floats (l, t);
  for (gint64 o = 0; o < out && weights; o++)
    for (gint64 tap = 0; tap < taps; tap++)
      for (gint64 i = 0; i < in; i++)
        *w++ = weights[(o * in + i) * taps + tap] * factor[o];
  if (weights
      && (!avatar_is_finite (c->w.data, avatar_tensor_n (c->w))
          || !avatar_is_finite (c->b.data, out)))
    fail (l, module, "has values that are NaN or infinite");
}

/* Memory for all, from @arena, which may be dry. */
static void
place (AvatarYoloWeights *self, AvatarArena *arena)
{
  GHashTableIter iter;
  gpointer value;

  g_hash_table_iter_init (&iter, self->convs);
  while (g_hash_table_iter_next (&iter, NULL, &value)) {
    AvatarYoloConv *c = value;

    c->w.data = avatar_arena_push (arena, avatar_tensor_bytes (c->w));
    c->b.data = avatar_arena_push (arena, avatar_tensor_bytes (c->b));
  }
}

static gboolean
read_convs (Loader *l, AvatarDevice *device)
{
  g_autoptr (AvatarArena) dry_run = avatar_arena_new_dry_run ();
  GHashTableIter iter;
  gpointer name, conv;

  place (l->self, dry_run);
  l->self->arena = avatar_arena_new (device, avatar_arena_peak (dry_run),
      "the face detector's weights", &l->error);
  if (!l->self->arena)
    return FALSE;
  place (l->self, l->self->arena);
  g_hash_table_iter_init (&iter, l->self->convs);
  while (g_hash_table_iter_next (&iter, &name, &conv) && !l->error)
    fill (l, name, conv);
  return !l->error;
}

/* The file has anchors in units of their grid's stride; without them, those of the yaml. */
static void
read_anchors (Loader *l)
{
  static const float built_in[AVATAR_YOLO_GRIDS][AVATAR_YOLO_ANCHORS][2]
      = { { { 4, 5 }, { 8, 10 }, { 13, 16 } }, { { 23, 29 }, { 43, 55 }, { 73, 105 } },
          { { 146, 217 }, { 231, 300 }, { 335, 433 } } };
  const AvatarTensorSource *t = g_hash_table_lookup (l->tensors, "23.anchors");
  float (*anchors)[AVATAR_YOLO_ANCHORS][2] = l->self->anchors;
  g_autofree float *own = NULL;

  memcpy (anchors, built_in, sizeof built_in);
  if (!t)
    return;
  if (t->rank != 3 || t->shape[0] != AVATAR_YOLO_GRIDS || t->shape[1] != AVATAR_YOLO_ANCHORS
      || t->shape[2] != 2 || t->dtype > AVATAR_BF16) {
    g_autofree char *found = avatar_tensor_source_describe (t);

    fail (l, "23.anchors", "is %s where [3, 3, 2] floats were expected", found);
    return;
  }
  own = read_floats (l, t);
  if (!own)
    return;
  memcpy (anchors, own, sizeof built_in);
  for (guint grid = 0; grid < AVATAR_YOLO_GRIDS; grid++)
    for (guint i = 0; i < AVATAR_YOLO_ANCHORS; i++)
      for (guint k = 0; k < 2; k++) {
        anchors[grid][i][k] *= 8 << grid;
        if (!isfinite (anchors[grid][i][k]) || anchors[grid][i][k] <= 0)
          fail (l, "23.anchors", "has sizes that are none");
      }
}

/* Names from where the layers begin, whatever the module around them is called. */
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

gboolean
avatar_yolo_weights_init (AvatarYoloWeights *self, AvatarTensorFile *file, AvatarDevice *device,
    GError **error)
{
  g_autoptr (GHashTable) tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  Loader l = { self, tensors, file, NULL, NULL };

  self->convs = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  list_tensors (&l);
  take_all (&l);
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
  g_clear_pointer (&self->convs, g_hash_table_unref);
  g_clear_pointer (&self->arena, avatar_arena_free);
}

const AvatarYoloConv *
avatar_yolo_weights_find (const AvatarYoloWeights *self, const char *name)
{
  return g_hash_table_lookup (self->convs, name);
}
