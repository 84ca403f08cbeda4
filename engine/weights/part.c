/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names, scales and shapes of a part's tensors. */
#define G_LOG_DOMAIN "avatar"
#include "engine/weights/part.h"

#include "engine/weights/manifest.h"

#include <string.h>

/* A LLaVA that has it has its vision tower. */
#define SEES "vision_tower.vision_model.embeddings.class_embedding"

/* @prefix: longest first; the first that fits is dropped from a name, or becomes @instead. @foreign:
 * names that begin so belong to other networks of the same checkpoint and are passed over. */
static const struct
{
  const char *part, *file;
  const char *prefix[6], *instead[6], *foreign[5];
} parts[AVATAR_N_PARTS] = {
  { "transformer", "transformer.safetensors", { NULL }, { NULL }, { NULL } },
  { "vae", "vae.safetensors", { "vae." }, { NULL }, { NULL } },
  { "whisper", "whisper_encoder.safetensors", { "model.encoder.", "encoder." }, { NULL },
      { "model.decoder.", "decoder.", "proj_out." } },
  { "text", "text_stub.safetensors", { NULL }, { NULL }, { NULL } },
  /* newer versions of the library have other names (spec vae-text-face-formats.md 2.2), and so have
   * ComfyUI's two files, of the language model alone and of the rest */
  { "llava", NULL,
      { "model.language_model.", "model.vision_tower.", "model.multi_modal_projector.",
          "vision_model.", "model." },
      { "language_model.model.", "vision_tower.", "multi_modal_projector.",
          "vision_tower.vision_model.", "language_model.model." },
      { "language_model.lm_head.", "lm_head." } },
  { "clip", NULL, { "text_model." }, { NULL },
      { "vision_model.", "text_projection.", "visual_projection.", "logit_scale" } },
};

const char *
avatar_part_name (AvatarPartKind kind)
{
  return parts[kind].part;
}

const char *
avatar_part_file (AvatarPartKind kind)
{
  return parts[kind].file;
}

static gboolean
is_foreign (AvatarPartKind kind, const char *name)
{
  for (guint j = 0; j < G_N_ELEMENTS (parts[kind].foreign) && parts[kind].foreign[j]; j++)
    if (g_str_has_prefix (name, parts[kind].foreign[j]))
      return TRUE;
  return FALSE;
}

/* Free with g_free(). */
static char *
bare_name (AvatarPartKind kind, const char *name)
{
  for (guint j = 0; j < G_N_ELEMENTS (parts[kind].prefix) && parts[kind].prefix[j]; j++)
    if (g_str_has_prefix (name, parts[kind].prefix[j])) {
      const char *instead = parts[kind].instead[j];

      return g_strconcat (instead ? instead : "", name + strlen (parts[kind].prefix[j]), NULL);
    }
  return g_strdup (name);
}

/* Of activations, which are not quantised here, and marks of ComfyUI's that say how weights are. */
static gboolean
is_quantisers (const char *name)
{
  static const char *const suffixes[]
      = { ".input_scale", ".output_scale", ".scale_input", ".comfy_quant" };

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (name, suffixes[i]))
      return TRUE;
  return strcmp (name, "scaled_fp8") == 0;
}

/* Quantisers have conventions of their own (spec vae-text-face-formats.md 5.4). */
char *
avatar_part_canonical_name (AvatarPartKind kind, const char *name)
{
  static const char *const suffixes[][2] = { { ".weight._data", ".weight" },
    { ".weight._scale", ".weight_scale" }, { ".scale_weight", ".weight_scale" } };

  g_autofree char *bare = NULL;

  if (is_foreign (kind, name) || g_str_has_prefix (name, AVATAR_PART_PADDING)
      || is_quantisers (name))
    return NULL;
  bare = bare_name (kind, name);
  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (bare, suffixes[i][0]))
      return g_strdup_printf ("%.*s%s", (int) (strlen (bare) - strlen (suffixes[i][0])), bare,
          suffixes[i][1]);
  return g_steal_pointer (&bare);
}

static gboolean
read_tensors (AvatarPart *self, AvatarPartKind kind, AvatarWeightFile *file, GError **error)
{
  for (guint i = 0; i < avatar_weight_file_n (file); i++) {
    AvatarTensor tensor;
    const char *found = avatar_weight_file_nth (file, i, &tensor);
    g_autofree char *name = avatar_part_canonical_name (kind, found);

    if (name
        && !g_hash_table_insert (self->tensors, g_steal_pointer (&name),
            g_memdup2 (&tensor, sizeof tensor))) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s: tensor \"%s\" is there twice, with and without its prefix; keep one",
          avatar_weight_file_get_name (file), found);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
is_8bit (const AvatarTensor *t)
{
  return t->dtype == AVATAR_F8_E4M3 || t->dtype == AVATAR_I8;
}

/* Factors that are in a file of their own, by module. */
static void
read_scales (AvatarPart *self)
{
  const char *file = avatar_weight_file_get_name (self->scales);
  g_autofree char *unused = NULL;
  guint n_unused = 0;

  for (guint i = 0; i < avatar_weight_file_n (self->scales); i++) {
    AvatarTensor scale;
    const char *module = avatar_weight_file_nth (self->scales, i, &scale);
    g_autofree char *weight = g_strconcat (module, ".weight", NULL);
    const AvatarTensor *t = g_hash_table_lookup (self->tensors, weight);

    if (!t)
      g_debug ("%s: \"%s\" is of no tensor", file, module);
    else if (is_8bit (t))
      g_hash_table_insert (self->tensors, g_strconcat (weight, "_scale", NULL),
          g_memdup2 (&scale, sizeof scale));
    else if (n_unused++ == 0)
      unused = g_strdup (module);
  }
  if (unused)
    g_warning ("%s: %u scales are not used, since their tensors are not of 8 bits (the first is "
               "\"%s\")",
        file, n_unused, unused);
}

static gboolean
is_float (const AvatarTensor *t)
{
  return t->dtype <= AVATAR_BF16;
}

/* One factor, or one for each row. int8 means nothing without. */
static gboolean
check_scale (AvatarPart *self, const char *name, const AvatarTensor *t, GError **error)
{
  g_autofree char *scale_name = g_strconcat (name, "_scale", NULL);
  const AvatarTensor *scale = g_hash_table_lookup (self->tensors, scale_name);
  g_autofree char *text = NULL;
  gint64 n;

  if (!is_8bit (t)) {
    g_hash_table_remove (self->tensors, scale_name);
    return TRUE;
  }
  if (!scale && t->dtype == AVATAR_F8_E4M3 && !self->scales)
    return TRUE; /* a plain cast */
  n = scale ? avatar_tensor_n (*scale) : 0;
  if (scale && is_float (scale) && (n == 1 || (n == t->shape[0] && scale->shape[0] == n)))
    return TRUE;
  text = scale ? avatar_tensor_describe (*scale) : g_strdup ("missing");
  g_set_error (error, AVATAR_ERROR, scale ? AVATAR_ERROR_MISMATCH : AVATAR_ERROR_NOT_FOUND,
      "%s: the scale of the 8-bit tensor \"%s\" is %s; expected 1 or %" G_GINT64_FORMAT
      " floats; fetch both files again, from one place",
      avatar_weight_file_get_name (self->scales ? self->scales : self->file), name, text,
      t->shape[0]);
  return FALSE;
}

/* What is to be done about a LLaVA that cannot see. */
static const char *
advise (AvatarPart *self, const char *missing)
{
  if (self->vision || self->scales
      || !(g_str_has_prefix (missing, "vision_tower.")
          || g_str_has_prefix (missing, "multi_modal_projector.")))
    return "the configuration and the file do not belong together";
  return "this file has a language model alone: put the file of its vision tower beside it, "
         "llava_llama3_vision.safetensors of Comfy-Org/HunyuanVideo_repackaged, or the *mmproj*.gguf "
         "that belongs to it";
}

static gboolean
report_missing (AvatarPart *self, GArray *manifest, guint first, GError **error)
{
  const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, first);
  AvatarTensor expected = avatar_tensor_of_shape (AVATAR_F32, NULL, want->rank, want->shape);
  g_autofree char *text = avatar_tensor_describe (expected);
  const char *why = avatar_weight_file_why_not (self->file, want->name);
  const char *file = avatar_weight_file_get_name (self->file);
  guint n = 0;

  if (!why && self->vision) {
    why = avatar_weight_file_why_not (self->vision, want->name);
    file = why ? avatar_weight_file_get_name (self->vision) : file;
  }

  for (guint i = first; i < manifest->len; i++)
    n += !g_hash_table_contains (self->tensors,
        g_array_index (manifest, AvatarManifestEntry, i).name);
  if (why)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: tensor \"%s\" cannot be used: %s; expected %s", file, want->name, why, text);
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: tensor \"%s\" is missing, the first of %u that are; expected %s; %s", file, want->name,
        n, text, advise (self, want->name));
  return FALSE;
}

/* Of quanto's formats only those of fewer than 8 bits have one. */
static gboolean
is_shifted (AvatarPart *self, const char *name)
{
  g_autofree char *shift = g_strconcat (name, "._shift", NULL);

  return g_hash_table_contains (self->tensors, shift);
}

/* LLaMA has 128256 ids, LLaVA adds some, and tables are filled up to a round number: files differ in how
 * many of these they have. Only ids that a prompt has matter, which are compared with the table. */
static gboolean
is_vocabulary (const AvatarManifestEntry *want, const AvatarTensor *found)
{
  return strcmp (want->name, AVATAR_PART_VOCABULARY) == 0 && found->rank == 2
      && found->shape[1] == want->shape[1] && found->shape[0] > 0
      && ABS (found->shape[0] - want->shape[0]) <= 256;
}

static gboolean
check_tensor (AvatarPart *self, GArray *manifest, guint i, GError **error)
{
  const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, i);
  const AvatarTensor *found = g_hash_table_lookup (self->tensors, want->name);
  AvatarTensor expected = avatar_tensor_of_shape (AVATAR_F32, NULL, want->rank, want->shape);
  g_autofree char *want_text = NULL, *found_text = NULL;

  if (!found)
    return report_missing (self, manifest, i, error);
  if (found->rank == want->rank
      && (memcmp (found->shape, want->shape, want->rank * sizeof (gint64)) == 0
          || is_vocabulary (want, found))
      && (is_float (found) || is_8bit (found)))
    return check_scale (self, want->name, found, error);
  if (is_shifted (self, want->name)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: tensor \"%s\" is quantised by quanto with a shift, to fewer than 8 bits (qint4, qint2), "
        "which is not read; expected qint8, or 16 bits",
        avatar_weight_file_get_name (self->file), want->name);
    return FALSE;
  }
  want_text = avatar_tensor_describe (expected);
  found_text = avatar_tensor_describe (*found);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" is %s; expected %s (or another float format); config.json and the file "
      "do not belong together",
      avatar_weight_file_get_name (self->file), want->name, found_text, want_text);
  return FALSE;
}

/* What the manifest does not know: an error, or listed for who looks for it and dropped. */
static gboolean
check_unknown (AvatarPart *self, GArray *manifest, gboolean strict, GError **error)
{
  g_autoptr (GHashTable) known = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  GHashTableIter iter;
  gpointer name;

  for (guint i = 0; i < manifest->len; i++) {
    const char *want = g_array_index (manifest, AvatarManifestEntry, i).name;

    g_hash_table_add (known, g_strdup (want));
    g_hash_table_add (known, g_strconcat (want, "_scale", NULL));
  }
  g_hash_table_iter_init (&iter, self->tensors);
  while (g_hash_table_iter_next (&iter, &name, NULL)) {
    if (g_hash_table_contains (known, name))
      continue;
    if (strict) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s: tensor \"%s\" is not one of the %u that config.json calls for; the two do not "
          "belong together",
          avatar_weight_file_get_name (self->file), (const char *) name, manifest->len);
      return FALSE;
    }
    g_debug ("%s: tensor \"%s\" is not needed", avatar_weight_file_get_name (self->file),
        (const char *) name);
    g_hash_table_iter_remove (&iter);
  }
  return TRUE;
}

static gboolean
open_second (AvatarPart *self, AvatarPartKind kind, const char *path, GError **error)
{
  AvatarWeightFile *file;

  if (kind == AVATAR_PART_LLAVA && g_hash_table_contains (self->tensors, SEES))
    return TRUE;
  file = avatar_weight_file_open (path, error);
  if (!file)
    return FALSE;
  if (kind == AVATAR_PART_LLAVA)
    return read_tensors (self, kind, self->vision = file, error);
  self->scales = file;
  read_scales (self);
  return TRUE;
}

gboolean
avatar_part_open (AvatarPart *self, AvatarPartKind kind, const char *path, const char *second,
    const AvatarConfig *config, gboolean strict, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, parts[kind].part);

  self->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  self->file = avatar_weight_file_open (path, error);
  if (!self->file || !read_tensors (self, kind, self->file, error)
      || (second && !open_second (self, kind, second, error)))
    return FALSE;
  for (guint i = 0; i < manifest->len; i++)
    if (!check_tensor (self, manifest, i, error))
      return FALSE;
  return check_unknown (self, manifest, strict, error);
}

void
avatar_part_imagine (AvatarPart *self, AvatarPartKind kind, const AvatarConfig *config)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, parts[kind].part);

  self->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, i);
    AvatarTensor t = avatar_tensor_of_shape (AVATAR_BF16, NULL, want->rank, want->shape);

    g_hash_table_insert (self->tensors, g_strdup (want->name), g_memdup2 (&t, sizeof t));
  }
}

void
avatar_part_clear (AvatarPart *self)
{
  g_clear_pointer (&self->tensors, g_hash_table_unref);
  g_clear_pointer (&self->scales, avatar_weight_file_free);
  g_clear_pointer (&self->vision, avatar_weight_file_free);
  g_clear_pointer (&self->file, avatar_weight_file_free);
}
