/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRAs merged into weights, compared with loops in double precision. */
#include "tests/unit/lora-file.h"
#include "engine/device/device.h"
#include "engine/model/manifest.h"
#include "engine/backends/fake/fake.h"
#include "engine/weights/pack.h"
#include "engine/weights/weights.h"
#include "tests/named-weights.h"

/* diffusers splits what the checkpoint has in one, and swaps the halves of one matrix. */
static void
test_fused (Fixture *f, gconstpointer data)
{
  static const char *const parts[][3] = {
    { "transformer_blocks.1.attn.to_q", "double_blocks.1.img_attn_qkv.weight", "0" },
    { "transformer_blocks.1.attn.to_v", "double_blocks.1.img_attn_qkv.weight", "2" },
    { "transformer_blocks.1.attn.add_k_proj", "double_blocks.1.txt_attn_qkv.weight", "1" },
    { "single_transformer_blocks.2.attn.to_k", "single_blocks.2.linear1.weight", "1" },
  };
  gint64 w = f->width, mlp = f->config->transformer.mlp;
  g_autoptr (GPtrArray) loras = NULL;
  g_autofree float *k = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (parts); i++) {
    g_autofree char *name = g_strconcat ("transformer.", parts[i][0], NULL);

    add_pair (f, name, ".lora_A.weight", ".lora_B.weight", parts[i][0], w, w);
  }
  add_pair (f, "transformer.single_transformer_blocks.2.proj_mlp", ".lora_A.weight",
      ".lora_B.weight", "mlp", mlp, w);
  add_pair (f, "transformer.norm_out.linear", ".lora_A.weight", ".lora_B.weight", "out", 2 * w, w);
  loras = open_good (f, 1);
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    expect (loras, parts[i][1], parts[i][0], 1, (parts[i][2][0] - '0') * w, 0, w, w, w);
  expect (loras, "single_blocks.2.linear1.weight", "mlp", 1, 3 * w, 0, mlp, mlp, w);
  expect (loras, "final_layer.adaLN_modulation.1.weight", "out", 1, 0, w, w, 2 * w, w);
  expect (loras, "final_layer.adaLN_modulation.1.weight", "out", 1, w, 0, w, 2 * w, w);
  /* there is none for k */
  k = avatar_lora_sum (loras, NULL, "double_blocks.1.img_attn_qkv.weight", w, 2 * w, w);
  for (gint64 i = 0; i < w * w; i++)
    g_assert_cmpfloat (k[i], ==, 0);
  /* any rows, not from the boundary of a matrix */
  {
    g_autofree float *all
        = avatar_lora_sum (loras, NULL, "double_blocks.1.img_attn_qkv.weight", 0, 3 * w, w);
    g_autofree float *some
        = avatar_lora_sum (loras, NULL, "double_blocks.1.img_attn_qkv.weight", w - 3, 2 * w + 5, w);

    g_assert_cmpmem (some, (w + 8) * w * 4, all + (w - 3) * w, (w + 8) * w * 4);
  }
}

static void
test_diffs (Fixture *f, gconstpointer data)
{
  g_autofree float *matrix = values_of ("d", "/m", AVATAR_F16, f->width * f->width);
  g_autofree float *vector = values_of ("d", "/v", AVATAR_F32, f->width);
  g_autoptr (GPtrArray) loras = NULL;
  gint64 norm = f->config->transformer.head_dim;
  g_autofree float *w = NULL, *b = NULL, *n = NULL;

  add (f, "double_blocks.0.img_attn_proj", ".diff", "d/m", AVATAR_F16, f->width, f->width);
  add (f, "double_blocks.0.img_attn_proj", ".diff_b", "d/v", AVATAR_F32, f->width, 0);
  add (f, "text_encoder.layers.0.q_proj", ".lora_A.weight", "u", AVATAR_F32, 2, 3);
  add (f, "guidance_in.mlp.0", ".lora_A.weight", "u", AVATAR_F32, 2, 3);
  add (f, "unheard", ".of", "u", AVATAR_F32, 2, 3);
  add (f, "double_blocks.0.img_attn_q_norm", ".diff", "d/v", AVATAR_F32, norm, 0);
  loras = open_good (f, -0.25);
  g_assert_cmpuint (avatar_lora_n_tensors (loras->pdata[0]), ==, 3);
  g_assert_cmpuint (avatar_lora_n_unknown (loras->pdata[0]), ==, 3);
  w = avatar_lora_sum (loras, NULL, "double_blocks.0.img_attn_proj.weight", 0, f->width, f->width);
  b = avatar_lora_sum (loras, NULL, "double_blocks.0.img_attn_proj.bias", 0, f->width, 1);
  for (gint64 i = 0; i < f->width * f->width; i++)
    g_assert_cmpfloat (w[i], ==, -0.25f * matrix[i]);
  for (gint64 i = 0; i < f->width; i++)
    g_assert_cmpfloat (b[i], ==, -0.25f * vector[i]);
  n = avatar_lora_sum (loras, NULL, "double_blocks.0.img_attn_q_norm.weight", 0, norm, 1);
  for (gint64 i = 0; i < norm; i++)
    g_assert_cmpfloat (n[i], ==, -0.25f * vector[i]);
}

/* Differences of all weights and biases of the transformer: matrices, taps, norms and biases. */
static void
test_every_weight (Fixture *f, gconstpointer data)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (f->config, AVATAR_COMPONENT_TRANSFORMER);
  g_autoptr (GPtrArray) loras = NULL;

  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    g_autofree char *module = g_strndup (e->name, strrchr (e->name, '.') - e->name);
    gint64 cols = 1;

    for (guint k = 1; k < e->rank; k++)
      cols *= e->shape[k];
    add (f, module, g_str_has_suffix (e->name, ".bias") ? ".diff_b" : ".diff", e->name, AVATAR_F32,
        e->shape[0], e->rank > 1 ? cols : 0);
  }
  loras = open_good (f, 0.5);
  g_assert_cmpuint (avatar_lora_n_tensors (loras->pdata[0]), ==, manifest->len);
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    gint64 n = 1;
    g_autofree float *all = NULL, *expected = NULL;

    for (guint k = 1; k < e->rank; k++)
      n *= e->shape[k];
    all = avatar_lora_sum (loras, NULL, e->name, 0, e->shape[0], n);
    expected = values_of (e->name, "", AVATAR_F32, e->shape[0] * n);
    g_assert_nonnull (all);
    for (gint64 k = 0; k < e->shape[0] * n; k++)
      g_assert_cmpfloat (all[k], ==, 0.5f * expected[k]);
  }
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  const char *proj = "double_blocks.0.img_attn_proj";
  gint64 w = f->width;

  add (f, "text_encoder.q_proj", ".lora_A.weight", "u", AVATAR_F32, 2, 3);
  refuse (f, 1, "none of its 1 keys");
  add (f, proj, ".lora_A.weight", "u", AVATAR_F32, RANK, w);
  refuse (f, 1, "only one of its two");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w + 1, w);
  refuse (f, 1, "made for another model");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w, w - 1);
  refuse (f, 1, "made for another model");
  add (f, proj, ".lora_A.weight", "u", AVATAR_F32, 2, w);
  add (f, proj, ".lora_B.weight", "u", AVATAR_F32, w, 3);
  refuse (f, 1, "made for another model");
  add (f, proj, ".lora_A.weight", "u", AVATAR_I8, 2, w);
  add (f, proj, ".lora_B.weight", "u", AVATAR_F32, w, 2);
  refuse (f, 1, "int8");
  add (f, proj, ".lora_A.weight", "u", AVATAR_I8, 2, w);
  add (f, proj, ".lora_B.weight", "u", AVATAR_F32, w, 2);
  refuse (f, 1, "float8_e5m2");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w, w);
  add (f, proj, ".dora_scale", "u", AVATAR_F32, w, 1);
  refuse (f, 1, "kind of adapter");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w, w);
  add (f, proj, ".alpha", "u", AVATAR_F32, 2, 0);
  refuse (f, 1, "alpha");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w, w);
  add (f, "transformer.double_blocks.0.img_attn_proj", ".lora_A.weight", "u", AVATAR_F32, RANK, w);
  refuse (f, 1, "twice");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w, w);
  add (f, proj, ".lora_A.style.weight", "u", AVATAR_F32, RANK, w);
  refuse (f, 1, "twice");
  add_pair (f, "double_blocks.0.img_attn_qkv", ".lora_A.weight", ".lora_B.weight", "x", 3 * w, w);
  add_pair (f, "transformer_blocks.0.attn.to_k", ".lora_A.weight", ".lora_B.weight", "x", w, w);
  refuse (f, 1, "twice");
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", w, w);
  refuse (f, NAN, "strength");
  add (f, proj, ".alpha", "alpha", AVATAR_F32, 1, 0);
  refuse (f, 1, "but no matrices");
  add (f, "audio_adapter_blocks.0.to_q", ".diff_b", "u", AVATAR_F32,
      f->config->transformer.adapter_dim, 0);
  refuse (f, 1, "existing bias");
  add (f, proj, ".diff", "u", AVATAR_F32, w, w + 1);
  refuse (f, 1, ".diff");
}

/* W + the sum of two LoRAs, rounded once; and quantised as that sum would be. */
static void
test_packed (Fixture *f, gconstpointer data)
{
  const char *name = "single_blocks.0.linear2.weight";
  GHashTable *table = avatar_model_get_component (f->model, AVATAR_COMPONENT_TRANSFORMER, NULL);
  const AvatarTensorSource *source = g_hash_table_lookup (table, name);
  gint64 rows = source->shape[0], cols = source->shape[1], n = rows * cols;
  g_autoptr (GPtrArray) loras = NULL;
  g_autofree float *want = avatar_tensor_source_read_all (source, NULL);
  g_autofree guint16 *rounded = g_new (guint16, n);
  g_auto (NamedWeights) names = { 0 };

  named_weights_init (&names, 0);
  named_weights_add (&names, name, AVATAR_WEIGHT_GROUP_FIXED, AVATAR_WEIGHT_CLASS_QUANTISABLE);
  named_weights_add (&names, "single_blocks.1.linear2.weight", AVATAR_WEIGHT_GROUP_FIXED,
      AVATAR_WEIGHT_CLASS_QUANTISABLE);
  add_pair (f, "single_blocks.0.linear2", ".lora_A.weight", ".lora_B.weight", "x", rows, cols);
  loras = open_good (f, 1);
  g_ptr_array_add (loras, open_lora (f, 0.5, NULL));
  {
    g_autofree float *sum = avatar_lora_sum (loras, NULL, name, 0, rows, cols);

    for (gint64 i = 0; i < n; i++)
      want[i] += sum[i];
  }
  avatar_dtype_from_f32 (rounded, AVATAR_BF16, want, n);
  for (guint k = 0; k < 2; k++) {
    AvatarWeightSettings settings
        = { .quantise = k ? AVATAR_QUANTISE_INT8 : AVATAR_QUANTISE_NONE, .loras = loras };
    g_autoptr (GArray) units = avatar_pack_plan (table, names.list, &settings, AVATAR_BF16);
    const AvatarWeightGroup *unit = &g_array_index (units, AvatarWeightGroup, 0);
    g_autofree guint8 *image = g_malloc (unit->bytes);

    g_assert_true (avatar_pack_group (unit, image, NULL, NULL));
    for (guint i = 0; i < unit->tensors->len; i++) {
      const AvatarPackedTensor *p = &g_array_index (unit->tensors, AvatarPackedTensor, i);
      const float *scale = (float *) (image + p->scale_offset);

      g_assert_true (!!p->loras == (strcmp (p->name, name) == 0));
      if (!p->loras)
        continue;
      if (k == 0)
        g_assert_cmpmem (image + p->offset, 2 * n, rounded, 2 * n);
      for (gint64 j = 0; j < n && k == 1; j++)
        g_assert_cmpfloat (fabsf (((gint8 *) image + p->offset)[j] * scale[j / cols] - want[j]), <=,
            0.501f * scale[j / cols]);
    }
  }
}

/* A fused matrix of e4m3 ones, of which the LoRAs in @f have q and v, and all rows again.
 * @list: contains this matrix alone, bound to @handle */
typedef struct
{
  AvatarWeightList *list;
  AvatarWeight handle;
  GHashTable *table;
  GBytes *ones, *factor;
  AvatarTensorSource matrix, scale;
} Stored;

#define STORED "double_blocks.0.img_attn_qkv.weight"
#define STORED_FACTOR 0.125f

static void
stored_init (Stored *s, gint64 width)
{
  const gint64 shape[] = { 3 * width, width }, one = 1;
  const float factor = STORED_FACTOR;
  guint8 *ones = g_malloc (3 * width * width);

  memset (ones, 0x38, 3 * width * width); /* 1 */
  s->ones = g_bytes_new_take (ones, 3 * width * width);
  s->factor = g_bytes_new (&factor, sizeof factor);
  s->matrix = avatar_tensor_source_in_bytes (s->ones, 0, AVATAR_F8_E4M3, 2, shape);
  s->scale = avatar_tensor_source_in_bytes (s->factor, 0, AVATAR_F32, 1, &one);
  s->table = g_hash_table_new (g_str_hash, g_str_equal);
  g_hash_table_insert (s->table, STORED, &s->matrix);
  g_hash_table_insert (s->table, STORED "_scale", &s->scale);
  s->list = avatar_weight_list_new (1);
  avatar_weight_list_add_tensor (s->list, &s->handle, STORED, 0, AVATAR_WEIGHT_CLASS_QUANTISABLE);
}

static void
stored_clear (Stored *s)
{
  avatar_weight_list_free (s->list);
  g_hash_table_unref (s->table);
  g_bytes_unref (s->ones);
  g_bytes_unref (s->factor);
}

/* Two files, of parts and of the whole. */
static GPtrArray *
open_two (Fixture *f)
{
  gint64 w = f->width;
  GPtrArray *loras;

  add_pair (f, "transformer_blocks.0.attn.to_v", ".lora_A.weight", ".lora_B.weight", "v", w, w);
  add_pair (f, "transformer_blocks.0.attn.to_q", ".lora_A.weight", ".lora_B.weight", "q", w, w);
  loras = open_good (f, 1);
  g_unlink (f->path); /* the first stays mapped */
  g_array_set_size (f->list, 0);
  add_pair (f, "double_blocks.0.img_attn.qkv", ".lora_A.weight", ".lora_B.weight", "x", 3 * w, w);
  g_ptr_array_add (loras, open_lora (f, 0.5, NULL));
  return loras;
}

/* B A at a row and a column, in double precision. */
static double
product (const float *a, const float *b, gint64 r, gint64 c, gint64 cols)
{
  double sum = 0;

  for (guint k = 0; k < RANK; k++)
    sum += (double) b[r * RANK + k] * a[k * cols + c];
  return sum;
}

/* Expected value of STORED with both LoRAs. */
static void
expect_both (Fixture *f, const float *found)
{
  gint64 w = f->width;
  g_autofree float *qa = values_of ("q", "/a", AVATAR_F32, RANK * w);
  g_autofree float *qb = values_of ("q", "/b", AVATAR_BF16, w * RANK);
  g_autofree float *va = values_of ("v", "/a", AVATAR_F32, RANK * w);
  g_autofree float *vb = values_of ("v", "/b", AVATAR_BF16, w * RANK);
  g_autofree float *xa = values_of ("x", "/a", AVATAR_F32, RANK * w);
  g_autofree float *xb = values_of ("x", "/b", AVATAR_BF16, 3 * w * RANK);

  for (gint64 r = 0; r < 3 * w; r++)
    for (gint64 c = 0; c < w; c++) {
      double want = STORED_FACTOR + 0.5 * product (xa, xb, r, c, w);

      if (r < w)
        want += product (qa, qb, r, c, w);
      else if (r >= 2 * w)
        want += product (va, vb, r - 2 * w, c, w);
      g_assert_cmpfloat_with_epsilon (found[r * w + c], want, 1e-5);
    }
}

/* Enters the unit of all @weights and brings STORED to @out; in a plan nothing. */
static AvatarOps *
fetch (AvatarWeights *weights, AvatarWeight handle, AvatarDevice *device, gsize bytes, float *out)
{
  static const guint units[] = { 0 };
  AvatarWeightSchedule route = { .groups = units, .n = 1, .max_in_use = 1 };
  g_autoptr (GError) error = NULL;
  AvatarArena *arena
      = bytes ? avatar_arena_new (device, bytes, "a test", &error) : avatar_arena_new_dry_run ();
  AvatarOps *ops = avatar_ops_new (device, arena, &error);

  g_assert_no_error (error);
  g_assert_true (avatar_weights_set_schedule (weights, ops, &route, &error));
  avatar_weights_acquire (weights, ops, 0);
  avatar_op_download (ops, out, avatar_weight_tensor (handle));
  avatar_weights_release (weights, ops, 0);
  g_assert_true (avatar_ops_check (ops, &error));
  return ops;
}

/* 8-bit weights: merged where they become float32; where they stay as they are, added to what they
 * are expanded to, with the memory and the work that a plan says. */
static void
test_8bit (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) cpu = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarDevice) sim = avatar_device_open ("sim:512", NULL);
  g_autoptr (GPtrArray) loras = open_two (f);
  AvatarWeightSettings settings = { .pinned_bytes = G_MAXUINT64, .loras = loras };
  g_autofree float *out = g_new (float, 3 * f->width * f->width);
  Stored s;

  stored_init (&s, f->width);
  {
    g_autoptr (AvatarWeights) weights = avatar_weights_new_from_table (s.table, cpu,
        AVATAR_COMPONENT_TRANSFORMER, s.list, &settings, AVATAR_WEIGHTS_LOAD, &error);

    expect_both (f, avatar_tensor_f32 (avatar_weight_tensor (s.handle)));
  }
  {
    g_autoptr (AvatarOps) dry_run = NULL, ops = NULL; /* freed last: weights wait for its queue */
    g_autoptr (AvatarWeights) planned = avatar_weights_new_from_table (s.table, sim,
        AVATAR_COMPONENT_TRANSFORMER, s.list, &settings, AVATAR_WEIGHTS_SHAPES_ONLY, &error);
    AvatarWeight dry_handle = s.handle;
    g_autoptr (AvatarWeights) weights = avatar_weights_new_from_table (s.table, sim,
        AVATAR_COMPONENT_TRANSFORMER, s.list, &settings, AVATAR_WEIGHTS_LOAD, &error);
    gsize bytes;

    g_assert_no_error (error);
    dry_run = fetch (planned, dry_handle, sim, 0, NULL);
    bytes = avatar_arena_peak (dry_run->arena);
    ops = fetch (weights, s.handle, sim, MAX (bytes, 1), out);
    expect_both (f, out);
    g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, bytes);
    g_assert_cmpfloat (ops->flops, ==, dry_run->flops);
    g_assert_cmpfloat (ops->flops, >, 0);
  }
  stored_clear (&s);
}

static void
refuse_8bit (Stored *s, const AvatarWeightSettings *settings, const char *message)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) sim = avatar_device_open ("sim:512", NULL);

  g_assert_null (avatar_weights_new_from_table (s->table, sim, AVATAR_COMPONENT_TRANSFORMER,
      s->list, settings, AVATAR_WEIGHTS_SHAPES_ONLY, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "float8_e4m3"));
  g_assert_nonnull (strstr (error->message, "lora.safetensors"));
  if (!strstr (error->message, message))
    g_error ("expected \"%s\" in \"%s\"", message, error->message);
}

static void
test_8bit_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) loras = open_two (f), diffs = NULL;
  Stored s;

  stored_init (&s, f->width);
  refuse_8bit (&s, &(AvatarWeightSettings){ .compute_fp8 = TRUE, .loras = loras }, "precision=fp8");
  g_unlink (f->path);
  g_array_set_size (f->list, 0);
  add (f, "double_blocks.0.img_attn_qkv", ".diff", "d", AVATAR_F32, 3 * f->width, f->width);
  diffs = open_good (f, 1);
  refuse_8bit (&s, &(AvatarWeightSettings){ .loras = diffs }, ".diff");
  stored_clear (&s);
}

/* By the settings: the file is read when the denoiser is made, and must be right. */
static void
test_denoiser (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  AvatarLoraSetting lora = { .path = f->path, .strength = 0.5 };
  AvatarDenoiseSettings settings;
  AvatarMemory before, with;
  AvatarDenoiser *denoiser;

  avatar_denoise_settings_init (&settings, f->model);
  settings.width = settings.height = 64;
  denoiser = avatar_denoiser_new (f->model, device, &settings, NULL);
  avatar_device_get_memory (device, &before);
  avatar_denoiser_free (denoiser);
  settings.loras = &lora;
  settings.n_loras = 1;
  g_assert_null (avatar_denoiser_new (f->model, device, &settings, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_clear_error (&error);
  add_pair (f, "lora_unet_single_blocks_0_linear2", ".lora_down.weight", ".lora_up.weight", "x",
      f->width, f->width + f->config->transformer.mlp);
  g_assert_true (avatar_write_safetensors (f->path, f->list, fill, f->as, NULL));
  denoiser = avatar_denoiser_new (f->model, device, &settings, &error);
  g_assert_no_error (error);
  avatar_device_get_memory (device, &with);
  g_assert_cmpuint (with.now, >=, before.now); /* mapped pages may have become copies */
  avatar_denoiser_free (denoiser);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*func) (Fixture *, gconstpointer);
  } tests[] = { { "fused", test_fused }, { "diffs", test_diffs },
    { "every-weight", test_every_weight }, { "refused", test_refused }, { "packed", test_packed },
    { "8-bit", test_8bit }, { "8-bit-refused", test_8bit_refused }, { "denoiser", test_denoiser } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/lora/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].func, teardown);
  }
  return g_test_run ();
}
