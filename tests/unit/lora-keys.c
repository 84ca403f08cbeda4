/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading of LoRA files: the keys of every dialect, every place of alphas, and unused tensors. */
#include "tests/unit/lora-file.h"

/* A key of a dialect and its target. @part: all rows, or those of q, k, v ("0", "1", "2") or of
 * the MLP ("3") in a fused matrix. */
typedef struct
{
  const char *key, *down, *up, *module, *part;
} Dialect;

#define AB ".lora_A.weight", ".lora_B.weight"
#define DOWN_UP ".lora_down.weight", ".lora_up.weight"
#define MLP "double_blocks.0.img_mlp.fc1"
#define QKV "double_blocks.1.img_attn_qkv"
#define LINEAR1 "single_blocks.1.linear1"
#define REFINER "txt_in.individual_token_refiner.blocks.0."

/* In the order of docs/guide/weights.md. */
static const Dialect dialects[] = {
  /* endings */
  { "diffusion_model." MLP, AB, MLP, "" },
  { MLP, ".lora_A.default.weight", ".lora_B.default.weight", MLP, "" },
  { MLP, ".lora_A.my-style.weight", ".lora_B.my-style.weight", MLP, "" },
  { "transformer." MLP, ".lora.down.weight", ".lora.up.weight", MLP, "" },
  { "base_model.model." MLP, ".lora.A.weight", ".lora.B.weight", MLP, "" },
  { MLP, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", MLP, "" },
  { MLP, ".lora_A", ".lora_B", MLP, "" },
  /* prefixes, in any order */
  { "model.diffusion_model." MLP, AB, MLP, "" },
  { "base_model.model.transformer." MLP, AB, MLP, "" },
  { "transformer.base_model.model." MLP, AB, MLP, "" },
  { "unet." MLP, AB, MLP, "" },
  { "module._orig_mod." MLP, AB, MLP, "" },
  { "pipe.dit." MLP, AB, MLP, "" },
  { "transformer_blocks.0._orig_mod.ff.net.0.proj", AB, MLP, "" },
  /* underscores: kohya and musubi-tuner, OneTrainer, LyCORIS */
  { "lora_unet_double_blocks_0_img_mlp_fc1", DOWN_UP, MLP, "" },
  { "lora_transformer_transformer_blocks_0_ff_net_0_proj", DOWN_UP, MLP, "" },
  { "lycoris_transformer_blocks_1_attn_to_k", DOWN_UP, QKV, "1" },
  { "lycoris_double_blocks_1_img_attn_qkv", DOWN_UP, QKV, "" },
  { "lora_unet__orig_mod_double_blocks_0_img_mlp_fc1", DOWN_UP, MLP, "" },
  /* ComfyUI */
  { "diffusion_model.double_blocks.0.img_mlp.0", AB, MLP, "" },
  { "diffusion_model.double_blocks.1.img_attn.qkv", AB, QKV, "" },
  { "single_blocks.1.modulation.lin", AB, "single_blocks.1.modulation.linear", "" },
  { "time_in.in_layer", AB, "time_in.mlp.0", "" },
  { "txt_in.c_embedder.out_layer", AB, "txt_in.c_embedder.linear_2", "" },
  { REFINER "self_attn.qkv", AB, REFINER "self_attn_qkv", "" },
  { REFINER "mlp.2", AB, REFINER "mlp.fc2", "" },
  /* diffusers */
  { "transformer.transformer_blocks.0.ff.net.0.proj", AB, MLP, "" },
  { "transformer.transformer_blocks.1.attn.to_q", AB, QKV, "0" },
  { "transformer.transformer_blocks.1.attn.add_v_proj", AB, "double_blocks.1.txt_attn_qkv", "2" },
  { "transformer.single_transformer_blocks.1.proj_mlp", AB, LINEAR1, "3" },
  { "transformer.single_transformer_blocks.1.proj_out", AB, "single_blocks.1.linear2", "" },
  { "transformer.x_embedder.proj", AB, "img_in.proj", "" },
  { "time_text_embed.text_embedder.linear_2", AB, "vector_in.out_layer", "" },
  { "context_embedder.proj_in", AB, "txt_in.input_embedder", "" },
  { "context_embedder.token_refiner.refiner_blocks.0.attn.to_v", AB, REFINER "self_attn_qkv", "2" },
  { "context_embedder.token_refiner.refiner_blocks.0.norm_out.linear", AB,
      REFINER "adaLN_modulation.1", "" },
  { "transformer.proj_out", AB, "final_layer.linear", "" },
  /* OneTrainer's standard form */
  { "transformer.double_blocks.1.img_attn_qkv.1", DOWN_UP, QKV, "1" },
  { "transformer.double_blocks.0.img_mlp.fc0", DOWN_UP, MLP, "" },
  { "transformer.single_blocks.1.linear1.3", DOWN_UP, LINEAR1, "3" },
  { "transformer.txt_in.t_embedder.linear_1", DOWN_UP, "txt_in.t_embedder.mlp.0", "" },
};

static void
check_dialect (Fixture *f, const Dialect *d)
{
  g_autofree char *tensor = g_strconcat (d->module, ".weight", NULL);
  GHashTable *table = avatar_model_get_component (f->model, AVATAR_COMPONENT_TRANSFORMER, NULL);
  const AvatarTensorSource *source = g_hash_table_lookup (table, tensor);
  gint64 cols = avatar_tensor_source_n (source) / source->shape[0], rows = source->shape[0];
  gint64 row = d->part[0] ? (d->part[0] - '0') * f->width : 0;

  if (d->part[0])
    rows = d->part[0] == '3' ? rows - row : f->width;
  g_array_set_size (f->list, 0);
  add_pair (f, d->key, d->down, d->up, "x", rows, cols);
  {
    g_autoptr (GPtrArray) loras = open_good (f, 0.5);

    g_assert_cmpuint (avatar_lora_n_tensors (loras->pdata[0]), ==, 1);
    g_assert_cmpuint (avatar_lora_n_unknown (loras->pdata[0]), ==, 0);
    g_assert_cmpuint (avatar_lora_get_warnings (loras->pdata[0])->len, ==, 0);
    expect (loras, tensor, "x", 0.5, row, 0, rows, rows, cols);
  }
  add (f, d->key, ".alpha", "alpha", AVATAR_F32, 1, 0);
  {
    g_autoptr (GPtrArray) loras = open_good (f, 2);

    expect (loras, tensor, "x", 2 * ALPHA / RANK, row, 0, rows, rows, cols);
  }
}

static void
test_dialects (Fixture *f, gconstpointer data)
{
  for (guint i = 0; i < G_N_ELEMENTS (dialects); i++)
    check_dialect (f, &dialects[i]);
}

/* Unsupported tensors that would change the result are errors, under any name. */
static void
test_refused_kinds (Fixture *f, gconstpointer data)
{
  static const char *const endings[] = { ".dora_scale", ".lora_magnitude_vector",
    ".lora_magnitude_vector.default.weight", ".lokr_w1", ".lokr_w2_a", ".hada_w1_a", ".oft_blocks",
    ".oft_R.weight", ".boft_R", ".lora_mid.weight", ".a1.weight", ".b2.weight", ".lora_B.bias",
    ".lora_B.default.bias", ".lora_A.weight_scale", ".lora_A.weight.scale_weight", ".lora_scale",
    ".weight", ".bias", ".w_norm", ".set_weight", ".anything" };
  static const char proj[] = "double_blocks.0.img_attn_proj";

  for (guint i = 0; i < G_N_ELEMENTS (endings); i++) {
    g_autofree char *key = g_strconcat ("\"", proj, endings[i], "\"", NULL);

    add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", f->width, f->width);
    add (f, proj, endings[i], "u", AVATAR_F32, f->width, 1);
    refuse (f, 1, key);
    add_pair (f, "lora_unet_double_blocks_0_img_attn_proj", ".lora_down.weight", ".lora_up.weight",
        "x", f->width, f->width);
    add (f, "diffusion_model.double_blocks.0.img_attn_proj", endings[i], "u", AVATAR_F32, f->width,
        1);
    refuse (f, 1, "kind of adapter");
  }
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", f->width, f->width);
  add (f, "lora_alpha", "", "alpha", AVATAR_F32, 1, 0);
  refuse (f, 1, "\"lora_alpha\"");
}

/* Places of an alpha that is not a tensor, and the resulting factor. */
static void
test_metadata (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *metadata, *down, *up;
    double factor;
    guint warnings;
  } cases[] = {
    { "{\"format\":\"pt\"}", AB, 1, 0 },
    { "{\"lora_adapter_metadata\":\"{\\\"transformer.r\\\":6,\\\"transformer.lora_alpha\\\":3}\"}",
        AB, 0.5, 0 },
    { "{\"lora_adapter_metadata\":\"{\\\"text_encoder.r\\\":2,\\\"text_encoder.lora_alpha\\\":1}\"}",
        AB, 1, 0 },
    { "{\"adapter_config\":\"{\\\"r\\\":6,\\\"lora_alpha\\\":12.0,\\\"use_rslora\\\":false}\"}", AB,
        2, 0 },
    { "{\"lora_alpha\":\"3\",\"r\":\"6\"}", AB, 0.5, 0 },
    { "{\"lora_alpha\":\"3\"}", DOWN_UP, 0.5, 0 },
    { "{\"alpha\":\"12\",\"rank\":\"6\"}", AB, 2, 0 },
    { "{\"network_alpha\":\"None\"}", AB, 1, 0 },
    /* divided by the root of the rank */
    { "{\"lora_alpha\":\"3\",\"use_rslora\":\"True\"}", AB, 1.2247448713915890, 0 },
    /* module, by its full name or the end of it */
    { "{\"lora_alpha\":\"5\",\"alpha_pattern\":\"{\\\"img_attn_proj\\\":3}\"}", AB, 0.5, 0 },
    { "{\"lora_alpha\":\"3\",\"alpha_pattern\":\"{\\\"attn_proj\\\":5}\"}", AB, 0.5, 0 },
    { "{\"lora_alpha\":\"5\",\"alpha_pattern\":\"{\\\"^double_blocks.0.img_attn_proj\\\":3}\"}", AB,
        0.5, 0 },
    { "{\"lora_alpha\":\"3\",\"r\":\"2\",\"rank_pattern\":\"{\\\"img_attn_proj\\\":6}\"}", AB, 0.5,
        0 },
    /* kohya's; a converter to lora_A has multiplied it in, and kept the metadata */
    { "{\"ss_network_alpha\":\"3\",\"ss_network_dim\":\"6\"}", DOWN_UP, 0.5, 0 },
    { "{\"ss_network_alpha\":\"3\",\"ss_network_dim\":\"6\"}", AB, 1, 1 },
    { "{\"ss_network_alpha\":\"6\",\"ss_network_dim\":\"6\"}", AB, 1, 0 },
    { "{\"ss_network_alpha\":\"Dynamic\",\"ss_network_dim\":\"Dynamic\"}", DOWN_UP, 1, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GPtrArray) loras = NULL;

    f->metadata = cases[i].metadata;
    g_array_set_size (f->list, 0);
    add_pair (f, "double_blocks.0.img_attn_proj", cases[i].down, cases[i].up, "x", f->width,
        f->width);
    loras = open_good (f, 1);
    expect (loras, "double_blocks.0.img_attn_proj.weight", "x", cases[i].factor, 0, 0, f->width,
        f->width, f->width);
    g_assert_cmpuint (avatar_lora_get_warnings (loras->pdata[0])->len, ==, cases[i].warnings);
  }
  /* every pair's own comes before kohya's */
  f->metadata = "{\"ss_network_alpha\":\"1\",\"ss_network_dim\":\"32\"}";
  add (f, "double_blocks.0.img_attn_proj", ".alpha", "alpha", AVATAR_F32, 1, 0);
  {
    g_autoptr (GPtrArray) loras = open_good (f, 1);

    expect (loras, "double_blocks.0.img_attn_proj.weight", "x", ALPHA / RANK, 0, 0, f->width,
        f->width, f->width);
  }
}

static void
test_metadata_refused (Fixture *f, gconstpointer data)
{
  static const char *const cases[][2] = {
    { "{\"lora_alpha\":\"much\"}", "\"lora_alpha\" of its metadata is not a number" },
    { "{\"lora_alpha\":\"nan\"}", "is not a number" },
    { "{\"adapter_config\":\"{\\\"lora_alpha\\\":\"}", "not valid JSON" },
    { "{\"lora_alpha\":\"3\",\"r\":\"8\"}", "of rank 6" },
    { "{\"lora_alpha\":\"3\",\"a\":\"{\\\"lora_alpha\\\":3}\"}", "in two places" },
    { "{\"use_rslora\":\"true\"}", "no \"lora_alpha\"" },
    { "{\"lora_alpha\":\"3\",\"use_dora\":\"true\"}", "use_dora" },
    { "{\"a\":\"{\\\"lora_alpha\\\":3,\\\"lora_bias\\\":true}\"}", "lora_bias" },
    { "{\"lora_alpha\":\"3\",\"alpha_pattern\":\"[]\"}", "alpha_pattern" },
    { "{\"lora_alpha\":\"3\",\"alpha_pattern\":\"{\\\".*proj\\\":3}\"}", "regular expression" },
    { "{\"lora_alpha\":\"3\",\"alpha_pattern\":\"{\\\"img_attn_proj\\\":[]}\"}", "not a number" },
  };
  static const char proj[] = "double_blocks.0.img_attn_proj";

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    f->metadata = cases[i][0];
    add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", f->width, f->width);
    refuse (f, 1, cases[i][1]);
  }
  f->metadata = "{\"lora_alpha\":\"5\"}";
  add_pair (f, proj, ".lora_A.weight", ".lora_B.weight", "x", f->width, f->width);
  add (f, proj, ".alpha", "alpha", AVATAR_F32, 1, 0);
  refuse (f, 1, "remove one of them");
}

/* PEFT's configuration in the same folder, unless it belongs to another file. */
static void
test_beside (Fixture *f, gconstpointer data)
{
  g_autofree char *config = g_build_filename (f->folder, "adapter_config.json", NULL);
  g_autofree char *other = g_build_filename (f->folder, "adapter_model.safetensors", NULL);
  g_autoptr (GPtrArray) loras = NULL, apart = NULL;

  add_pair (f, "base_model.model.double_blocks.0.img_attn_proj", AB, "x", f->width, f->width);
  g_assert_true (g_file_set_contents (config, "{\"r\": 6, \"lora_alpha\": 3}", -1, NULL));
  loras = open_good (f, 1);
  expect (loras, "double_blocks.0.img_attn_proj.weight", "x", 0.5, 0, 0, f->width, f->width,
      f->width);
  g_assert_true (g_str_has_suffix (avatar_lora_get_alpha_source (loras->pdata[0]), config));
  g_unlink (f->path);
  g_assert_true (g_file_set_contents (other, "", 0, NULL));
  apart = open_good (f, 1);
  expect (apart, "double_blocks.0.img_attn_proj.weight", "x", 1, 0, 0, f->width, f->width,
      f->width);
  g_unlink (other);
  g_assert_true (g_file_set_contents (config, "{\"r\": 6, \"lora_alpha\": ", -1, NULL));
  {
    g_autoptr (GError) error = NULL;

    g_assert_null (open_lora (f, 1, &error));
    g_assert_nonnull (strstr (error->message, "adapter_config.json"));
  }
  g_unlink (config);
}

/* 8-bit matrices are cast; without a factor only types that store values are accepted. */
static void
test_formats (Fixture *f, gconstpointer data)
{
  static const AvatarDType dtypes[] = { AVATAR_F8_E4M3, AVATAR_F8_E5M2 };
  static const char proj[] = "double_blocks.0.img_attn_proj";
  gint64 w = f->width;

  for (guint i = 0; i < G_N_ELEMENTS (dtypes); i++) {
    g_autoptr (GPtrArray) loras = NULL;
    g_autofree float *sum = NULL;

    g_unlink (f->path);
    g_array_set_size (f->list, 0);
    add (f, proj, ".lora_A.weight", "small", dtypes[i], RANK, w);
    add (f, proj, ".lora_B.weight", "small", dtypes[i], w, RANK);
    loras = open_good (f, 1);
    sum = avatar_lora_sum (loras, NULL, "double_blocks.0.img_attn_proj.weight", 0, w, w);
    for (gint64 k = 0; k < w * w; k++)
      g_assert_cmpfloat (sum[k], ==, RANK * .125f * .125f);
    g_array_set_size (f->list, 0);
    add (f, proj, ".lora_A.weight", "large", dtypes[i], RANK, w);
    add (f, proj, ".lora_B.weight", "small", dtypes[i], w, RANK);
    refuse (f, 1, "without a factor");
  }
}

/* A warning gives the number of unused tensors and the name of the first. */
static void
test_left_over (Fixture *f, gconstpointer data)
{
  g_autoptr (GPtrArray) loras = NULL;
  GPtrArray *warnings;

  add_pair (f, "double_blocks.0.img_attn_proj", AB, "x", f->width, f->width);
  add_pair (f, "blocks.0.self_attn.q", AB, "x", f->width, f->width);
  add (f, "lora_te1_layers_0_mlp", ".alpha", "alpha", AVATAR_F32, 1, 0);
  loras = open_good (f, 1);
  warnings = avatar_lora_get_warnings (loras->pdata[0]);
  g_assert_cmpuint (warnings->len, ==, 1);
  g_assert_nonnull (strstr (warnings->pdata[0], "lora.safetensors: 3 of its 5 keys"));
  g_assert_nonnull (strstr (warnings->pdata[0], "\"blocks.0.self_attn.q.lora_A.weight\""));
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*func) (Fixture *, gconstpointer);
  } tests[] = { { "dialects", test_dialects }, { "refused-kinds", test_refused_kinds },
    { "metadata", test_metadata }, { "metadata-refused", test_metadata_refused },
    { "beside", test_beside }, { "formats", test_formats }, { "left-over", test_left_over } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/lora-keys/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].func, teardown);
  }
  return g_test_run ();
}
