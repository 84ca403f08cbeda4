/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaVA and CLIP in the files of other programs: prompts are encoded bit-identically to the
 * released files with the same values. */
#include "tests/unit/text-tree.h"

#include "engine/inspect/inspect.h"

#include <math.h>

/* A tensor of the release in a file of another program. */
typedef enum
{
  AS_IS,
  FP8,  /* times a factor */
  INT8, /* times a factor a row */
  Q8_0, /* ggml's: times a factor every 32 values */
} Form;

/* The properties of a file: its tensors, names and types. */
typedef struct
{
  Form form;
  const char *drop[3]; /* prefixes */
  const char *(*rename) (GStringChunk *names, const char *name);
} Dialect;

static const guint8 fp8_nan = 0x7f;

/* Stores the @n values of @t as another program does, with factors. Returns their float32
 * values. */
static void
make_values (const AvatarNamedTensor *t, Form form, guint8 *stored, float *factors, float *out)
{
  gint64 n = avatar_tensor_n (t->tensor), rows = t->tensor.shape[0], cols = n / MAX (rows, 1);
  AvatarRandom random = avatar_random_for (t->name, t->tensor, 0);
  g_autofree guint8 *f16 = g_malloc (2 * n);

  avatar_random_fill (&random, 0, n, AVATAR_F16, f16);
  avatar_dtype_to_f32 (out, f16, AVATAR_F16, n);
  for (gint64 i = 0; form != AS_IS && i < n; i++) {
    gint64 k = form == FP8 ? 0 : form == INT8 ? i / cols : i / 32;

    /* exact in any format of factors */
    factors[k] = ldexpf (1 + k % 7 / 8.f, -9);
    if (form == FP8) {
      float value = out[i] / factors[k];

      avatar_dtype_from_f32 (&stored[i], AVATAR_F8_E4M3, &value, 1);
      g_assert_cmpuint (stored[i] & fp8_nan, !=, fp8_nan);
      avatar_dtype_to_f32 (&value, &stored[i], AVATAR_F8_E4M3, 1);
      out[i] = value * factors[k];
    } else {
      gint8 value = CLAMP (lrintf (out[i] / factors[k]), -127, 127);

      stored[i] = (guint8) value;
      out[i] = value * factors[k];
    }
  }
  if (form == AS_IS)
    memcpy (stored, f16, 2 * n);
}

/* Selects the quantised matrices, as converters do: those of layers, in llama.cpp's files only
 * those of the language model. */
static Form
form_of (const AvatarNamedTensor *t, Form form)
{
  gboolean speaks = g_str_has_prefix (t->name, "language_model.");

  if (t->tensor.rank != 2 || !strstr (t->name, "layers.") || (form == Q8_0 && !speaks))
    return AS_IS;
  return form;
}

static GArray *
llava_list (GStringChunk *names)
{
  AvatarConfig config = { .transformer = { .text_dim = 64, .pooled_dim = 32 } };
  LlavaSizes llava = random_llava_sizes (&config, RANDOM_SIZES_SMALL);

  llava.vocab = LLAVA_VOCAB;
  return random_llava_list (&llava, names);
}

/* The released file, with the values that @form leaves. */
static void
fill_reference (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  gint64 all = avatar_tensor_n (t->tensor);
  g_autofree guint8 *stored = g_malloc (2 * all);
  g_autofree float *factors = g_new (float, all), *values = g_new (float, all);

  make_values (t, form_of (t, *(const Form *) data), stored, factors, values);
  memcpy (out, values + first, n * sizeof (float));
}

static GByteArray *
encode_folder (Fixture *f)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (f->folder, &error);
  GByteArray *all;
  guint parts;

  g_assert_no_error (error);
  all = encode_model (f, model, &two, &parts, &error);
  g_assert_no_error (error);
  return all;
}

static GByteArray *
encode_reference (Fixture *f, Form form)
{
  g_autofree char *path = path_of (f, LLAVA "/model.safetensors");
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  g_autoptr (GArray) list = llava_list (names);
  GByteArray *all;

  for (guint i = 0; i < list->len; i++)
    g_array_index (list, AvatarNamedTensor, i).tensor.dtype = AVATAR_F32;
  g_assert_true (avatar_write_safetensors (path, list, fill_reference, &form, NULL));
  all = encode_folder (f);
  g_assert_cmpint (g_remove (path), ==, 0);
  return all;
}

/* Expects that avatar-inspect reports LLaVA in @n files. @problem: (nullable): a text in its
 * report of an unusable one. */
static void
check_inspection (Fixture *f, const char *problem, guint n)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarInspection) inspection = avatar_inspect (f->folder, NULL, NULL, &error);
  const AvatarInspectedComponent *part = NULL;

  g_assert_no_error (error);
  for (guint i = 0; i < inspection->components->len && !part; i++) {
    part = inspection->components->pdata[i];
    if (strcmp (part->name, AVATAR_INSPECT_LLAVA) != 0)
      part = NULL;
  }
  g_assert_nonnull (part);
  if (problem) {
    g_assert_nonnull (part->problem);
    g_assert_nonnull (strstr (part->problem, problem));
    return;
  }
  if (part->problem)
    g_error ("unexpected: %s", part->problem);
  g_assert_cmpuint (part->n_files, ==, n);
  g_assert_cmpuint (part->n_extra, ==, 0);
  g_assert_true (avatar_inspection_is_usable (inspection));
}

static void
check_same (Fixture *f, const GByteArray *reference)
{
  g_autoptr (GByteArray) found = encode_folder (f);

  g_assert_true (is_same (reference, found));
}

static void
unlink_in (Fixture *f, const char *name)
{
  g_autofree char *path = path_of (f, name);

  g_assert_cmpint (g_remove (path), ==, 0);
}

static void
refuse (Fixture *f, gint code, const char *text)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_model_open (f->folder, &error));
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, text))
    g_error ("expected \"%s\" in \"%s\"", text, error->message);
}

/* ------------------------------------------------------------- safetensors of other programs */

static const char *
same_name (GStringChunk *names, const char *name)
{
  return name;
}

static const char *
without (GStringChunk *names, const char *name, const char *prefix)
{
  return g_str_has_prefix (name, prefix) ? name + strlen (prefix) : name;
}

static const char *
comfy_name (GStringChunk *names, const char *name)
{
  return without (names, without (names, name, "language_model."), "vision_tower.");
}

/* Name in the file -> whose values, or whose factors it has. */
static void
fill_stored (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  const AvatarNamedTensor *source = g_hash_table_lookup (data, t->name);
  gsize size = avatar_dtype_size (t->tensor.dtype);
  gint64 all = source ? avatar_tensor_n (source->tensor) : 0;
  g_autofree guint8 *stored = g_malloc (2 * all + 1);
  g_autofree float *factors = g_new (float, all + 1), *values = g_new (float, all + 1);
  gboolean is_scale = strstr (t->name, "scale") != NULL;
  Form form = t->tensor.dtype == AVATAR_I8 || (is_scale && avatar_tensor_n (t->tensor) > 1) ? INT8
      : t->tensor.dtype == AVATAR_F8_E4M3 || is_scale                                       ? FP8
                                                                                            : AS_IS;

  memset (out, 0, n * size);
  if (!source)
    return;
  make_values (source, form, stored, factors, values);
  if (is_scale)
    avatar_dtype_from_f32 (out, t->tensor.dtype, factors + first, n);
  else
    memcpy (out, stored + first * size, n * size);
}

static void
add (GArray *list, GHashTable *sources, GStringChunk *names, const char *name, const char *suffix,
    AvatarTensor t, const AvatarNamedTensor *source)
{
  g_autofree char *full = g_strconcat (name, suffix, NULL);
  AvatarNamedTensor named = { g_string_chunk_insert (names, full), t };

  g_array_append_val (list, named);
  if (source)
    g_hash_table_insert (sources, (gpointer) named.name, g_memdup2 (source, sizeof *source));
}

static void
add_tensor (GArray *list, GHashTable *sources, GStringChunk *names, const Dialect *dialect,
    const AvatarNamedTensor *t)
{
  const char *name = dialect->rename (names, t->name);
  Form form = form_of (t, dialect->form);
  g_autofree char *module = g_strndup (name, strlen (name) - strlen (".weight"));
  AvatarTensor stored = t->tensor;

  if (form == AS_IS) {
    add (list, sources, names, name, "", stored, t);
  } else if (form == FP8) {
    stored.dtype = AVATAR_F8_E4M3;
    add (list, sources, names, name, "", stored, t);
    add (list, sources, names, module, ".scale_weight",
        avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 1), t);
    add (list, sources, names, module, ".scale_input",
        avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 1), NULL);
  } else {
    stored.dtype = AVATAR_I8;
    add (list, sources, names, module, ".weight._data", stored, t);
    add (list, sources, names, module, ".weight._scale",
        avatar_tensor (AVATAR_BF16, NULL, 2, stored.shape[0], (gint64) 1), t);
    add (list, sources, names, module, ".input_scale",
        avatar_tensor (AVATAR_BF16, NULL, 1, (gint64) 1), NULL);
    add (list, sources, names, module, ".output_scale",
        avatar_tensor (AVATAR_BF16, NULL, 1, (gint64) 1), NULL);
  }
}

static void
write_dialect (Fixture *f, const char *file, const Dialect *dialect)
{
  g_autofree char *path = path_of (f, file), *folder = g_path_get_dirname (path);
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  g_autoptr (GHashTable) sources = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
  g_autoptr (GArray) all = llava_list (names);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < all->len; i++) {
    const AvatarNamedTensor *t = &g_array_index (all, AvatarNamedTensor, i);
    gboolean dropped = FALSE;

    for (guint j = 0; j < G_N_ELEMENTS (dialect->drop) && dialect->drop[j]; j++)
      dropped |= g_str_has_prefix (t->name, dialect->drop[j]);
    if (!dropped)
      add_tensor (list, sources, names, dialect, t);
  }
  if (dialect->form == FP8) /* ComfyUI's mark, without values or with two */
    add (list, sources, names, "scaled_fp8", "",
        avatar_tensor (AVATAR_F8_E4M3, NULL, 1, (gint64) 0), NULL);
  g_mkdir_with_parents (folder, 0777);
  avatar_write_safetensors (path, list, fill_stored, sources, &error);
  g_assert_no_error (error);
}

static const Dialect comfy_vision = { AS_IS, { "language_model." }, comfy_name };

static void
test_comfy (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *file;
    Dialect dialect;
  } cases[] = { { LLAVA "/llava_llama3_fp16.safetensors",
                    { AS_IS, { "vision_tower.", "multi_modal_" }, comfy_name } },
    { LLAVA "/llava_llama3_fp8_scaled.safetensors",
        { FP8, { "vision_tower.", "multi_modal_" }, comfy_name } } };

  unlink_in (f, LLAVA "/model.safetensors");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const Dialect *dialect = &cases[i].dialect;
    g_autoptr (GByteArray) reference = NULL;
    Dialect vision = comfy_vision;

    reference = encode_reference (f, dialect->form);
    write_dialect (f, cases[i].file, dialect);
    /* without its eyes */
    refuse (f, AVATAR_ERROR_NOT_FOUND, "llava_llama3_vision.safetensors of Comfy-Org");
    check_inspection (f, "llava_llama3_vision.safetensors of Comfy-Org", 0);
    vision.form = dialect->form;
    write_dialect (f, LLAVA "/llava_llama3_vision.safetensors", &vision);
    check_same (f, reference);
    check_inspection (f, NULL, 2);
    unlink_in (f, LLAVA "/llava_llama3_vision.safetensors");
    unlink_in (f, cases[i].file);
  }
}

/* The largest of several files is used; clip_l.safetensors may replace model.safetensors. */
static void
test_clip (Fixture *f, gconstpointer data)
{
  static const Dialect small = { INT8, { NULL }, same_name };
  g_autoptr (GByteArray) reference = encode_folder (f), found = NULL;
  g_autofree char *llava = path_of (f, LLAVA "/model.safetensors");
  g_autofree char *other = path_of (f, LLAVA "/b.safetensors");
  g_autofree char *clip = path_of (f, CLIP "/model.safetensors");
  g_autofree char *clip_l = path_of (f, CLIP "/clip_l.safetensors");

  g_assert_cmpint (g_rename (clip, clip_l), ==, 0);
  check_same (f, reference);
  g_assert_cmpint (g_rename (llava, other), ==, 0);
  check_same (f, reference);
  write_dialect (f, LLAVA "/a.safetensors", &small);
  check_same (f, reference);
  unlink_in (f, LLAVA "/b.safetensors");
  found = encode_folder (f);
  g_assert_false (is_same (reference, found));
}

/* Wan2GP's int8 file, in the tree of the release or in Wan2GP's. */
static void
test_quanto (Fixture *f, gconstpointer data)
{
  static const Dialect quanto = { INT8, { NULL }, same_name };
  g_autoptr (GByteArray) reference = encode_reference (f, INT8);

  write_dialect (f, LLAVA "/llava-llama-3-8b-v1_1_vlm_quanto_int8.safetensors", &quanto);
  check_same (f, reference);
  /* from a newer library */
  write_dialect (f, LLAVA "/llava-llama-3-8b-v1_1_vlm_quanto_int8.safetensors",
      &(Dialect){ INT8, { NULL }, new_name });
  check_same (f, reference);
  check_inspection (f, NULL, 1);
}

/* ----------------------------------------------------------------------------------------- GGUF */

static void
put_number (GByteArray *out, guint64 value, guint bytes)
{
  value = GUINT64_TO_LE (value);
  g_byte_array_append (out, (guint8 *) &value, bytes);
}

static void
put_text (GByteArray *out, const char *text)
{
  put_number (out, strlen (text), 8);
  g_byte_array_append (out, (const guint8 *) text, strlen (text));
}

/* Name in files of llama.cpp's converters; NULL: not in this file. @old: converters before 2025 */
static char *
llama_cpp_name (const char *name, gboolean vision, gboolean old)
{
  static const char *const pairs[][2] = { { "language_model.model.embed_tokens", "token_embd" },
    { "language_model.model.norm", "output_norm" }, { "language_model.lm_head", "output" },
    { "language_model.model.layers", "blk" }, { "input_layernorm", "attn_norm" },
    { "post_attention_layernorm", "ffn_norm" }, { "self_attn.q_proj", "attn_q" },
    { "self_attn.k_proj", "attn_k" }, { "self_attn.v_proj", "attn_v" },
    { "self_attn.o_proj", "attn_output" }, { "mlp.gate_proj", "ffn_gate" },
    { "mlp.up_proj", "ffn_up" }, { "mlp.down_proj", "ffn_down" },
    { "self_attn.out_proj", "attn_out" }, { "layer_norm", "ln" },
    { "vision_tower.vision_model.encoder.layers", "v.blk" },
    { "vision_tower.vision_model.embeddings.", "v." }, { "vision_tower.vision_model.", "v." },
    { "pre_layrnorm", "pre_ln" }, { "post_layernorm", "post_ln" }, { "embedding", "embd" },
    { "multi_modal_projector.linear_", "mm." } };
  g_autoptr (GString) out = g_string_new (name);

  if (g_str_has_prefix (name, "language_model.") == vision)
    return NULL;
  for (guint i = 0; i < G_N_ELEMENTS (pairs); i++)
    g_string_replace (out, pairs[i][0], pairs[i][1], 1);
  if (vision) {
    g_string_replace (out, "class_embd.weight", "class_embd", 1);
    if (!g_string_replace (out, "mlp.fc1", old ? "ffn_down" : "ffn_up", 1))
      g_string_replace (out, "mlp.fc2", old ? "ffn_up" : "ffn_down", 1);
    if (old)
      g_string_replace (out, "mm.1", "mm.0", 1);
  }
  return g_string_free (g_steal_pointer (&out), FALSE);
}

/* convert_hf_to_gguf.py: w.reshape (heads, 2, rows / heads / 2, ...).swapaxes (1, 2). @bytes: size
 * of a row */
static void
permute (guint8 *data, gint64 rows, gsize bytes, gint64 heads)
{
  g_autofree guint8 *before = g_memdup2 (data, rows * bytes);
  gint64 half = rows / heads / 2;

  for (gint64 h = 0; h < heads; h++)
    for (gint64 i = 0; i < half; i++)
      for (gint64 j = 0; j < 2; j++, data += bytes)
        memcpy (data, before + ((h * 2 + j) * half + i) * bytes, bytes);
}

/* Bytes of @t in a GGUF file, its rows in llama.cpp's order. */
static GByteArray *
make_bytes (const AvatarNamedTensor *t, Form form)
{
  gint64 n = avatar_tensor_n (t->tensor), rows = t->tensor.shape[0];
  g_autofree guint8 *stored = g_malloc (2 * n);
  g_autofree float *factors = g_new (float, n), *values = g_new (float, n);
  GByteArray *out = g_byte_array_new ();

  make_values (t, form, stored, factors, values);
  if (form == AS_IS && t->tensor.rank == 1) { /* vectors are float32 */
    g_byte_array_append (out, (guint8 *) values, n * sizeof (float));
  } else if (form == AS_IS) {
    g_byte_array_append (out, stored, 2 * n);
  } else {
    for (gint64 i = 0; i < n; i += 32) {
      guint16 factor;

      avatar_dtype_from_f32 (&factor, AVATAR_F16, &factors[i / 32], 1);
      g_byte_array_append (out, (guint8 *) &factor, 2);
      g_byte_array_append (out, stored + i, 32);
    }
  }
  if (g_str_has_prefix (t->name, "language_model.") && strstr (t->name, "self_attn.q_proj"))
    permute (out->data, rows, out->len / rows, 4);
  if (g_str_has_prefix (t->name, "language_model.") && strstr (t->name, "self_attn.k_proj"))
    permute (out->data, rows, out->len / rows, 2);
  return out;
}

static void
write_gguf (Fixture *f, const char *file, Form form, gboolean vision, gboolean old)
{
  g_autofree char *path = path_of (f, file);
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  g_autoptr (GArray) all = llava_list (names);
  g_autoptr (GByteArray) table = g_byte_array_new (), data = g_byte_array_new ();
  g_autoptr (GByteArray) out = g_byte_array_new ();
  guint n = 0;

  for (guint i = 0; i < all->len; i++) {
    const AvatarNamedTensor *t = &g_array_index (all, AvatarNamedTensor, i);
    g_autofree char *name = llama_cpp_name (t->name, vision, old);
    Form own = vision ? AS_IS : form_of (t, form);
    g_autoptr (GByteArray) bytes = NULL;

    if (!name)
      continue;
    n++;
    put_text (table, name);
    put_number (table, t->tensor.rank, 4);
    for (guint j = t->tensor.rank; j-- > 0;)
      put_number (table, t->tensor.shape[j], 8);
    put_number (table, own == Q8_0 ? 8 : t->tensor.rank > 1, 4);
    put_number (table, data->len, 8);
    bytes = make_bytes (t, own);
    g_byte_array_append (data, bytes->data, bytes->len);
    while (data->len % 32)
      put_number (data, 0, 1);
  }
  g_byte_array_append (out, (const guint8 *) "GGUF", 4);
  put_number (out, 3, 4);
  put_number (out, n, 8);
  put_number (out, 3, 8);
  put_text (out, "general.architecture");
  put_number (out, 8, 4);
  put_text (out, vision ? "clip" : "llama");
  put_text (out, "llama.attention.head_count");
  put_number (out, 4, 4);
  put_number (out, 4, 4);
  put_text (out, "llama.attention.head_count_kv");
  put_number (out, 4, 4);
  put_number (out, 2, 4);
  g_byte_array_append (out, table->data, table->len);
  while (out->len % 32)
    put_number (out, 0, 1);
  g_byte_array_append (out, data->data, data->len);
  g_assert_true (g_file_set_contents (path, (char *) out->data, out->len, NULL));
}

static void
test_gguf (Fixture *f, gconstpointer data)
{
  unlink_in (f, LLAVA "/model.safetensors");
  for (guint i = 0; i < 4; i++) {
    Form form = i % 2 ? Q8_0 : AS_IS;
    g_autoptr (GByteArray) reference = encode_reference (f, form);

    write_gguf (f, LLAVA "/llava-llama-3-8b-v1_1.gguf", form, FALSE, FALSE);
    refuse (f, AVATAR_ERROR_NOT_FOUND, "mmproj");
    check_inspection (f, "mmproj", 0);
    write_gguf (f, LLAVA "/llava-llama-3-8b-v1_1-mmproj-f16.gguf", AS_IS, TRUE, i / 2);
    check_same (f, reference);
    check_inspection (f, NULL, 2);
    unlink_in (f, LLAVA "/llava-llama-3-8b-v1_1-mmproj-f16.gguf");
    unlink_in (f, LLAVA "/llava-llama-3-8b-v1_1.gguf");
  }
}

/* A table with fewer ids than the configuration says, as of a LLaMA that nothing was added to. */
static void
test_vocabulary (Fixture *f, gconstpointer data)
{
  g_autoptr (GByteArray) reference = encode_folder (f);
  g_autofree char *config = path_of (f, LLAVA "/config.json"), *text = NULL;
  g_autoptr (GString) changed = NULL;
  g_autofree char *before = g_strdup_printf ("\"vocab_size\": %d", LLAVA_VOCAB);
  g_autofree char *more = g_strdup_printf ("\"vocab_size\": %d", LLAVA_VOCAB + 64);
  g_autofree char *far = g_strdup_printf ("\"vocab_size\": %d", LLAVA_VOCAB + 1000);

  g_assert_true (g_file_get_contents (config, &text, NULL, NULL));
  changed = g_string_new (text);
  g_assert_cmpuint (g_string_replace (changed, before, more, 0), ==, 1);
  put (f, LLAVA "/config.json", changed->str);
  check_same (f, reference);
  g_string_replace (changed, more, far, 0);
  put (f, LLAVA "/config.json", changed->str);
  refuse (f, AVATAR_ERROR_MISMATCH, "embed_tokens");
}

int
main (int argc, char **argv)
{
  static const Case cases[] = { { "comfy", test_comfy }, { "clip", test_clip },
    { "quanto", test_quanto }, { "gguf", test_gguf }, { "vocabulary", test_vocabulary } };

  return run_cases (argc, argv, "text-files", cases, G_N_ELEMENTS (cases));
}
