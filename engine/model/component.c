/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names, scale factors and shapes of a component's tensors. */
#define G_LOG_DOMAIN "avatar"
#include "engine/model/component.h"

#include "engine/model/manifest.h"
#include "engine/formats/plain-cast.h"

#include <string.h>

/* Maximum length of a name that is examined as the name of a scale factor. */
#define MAX_SIBLING 512
/* Number of scale factors that are read at a time. */
#define FACTORS 1024

/* Tensor by which a LLaVA file with a vision tower is recognised. */
#define VISION_TOWER_TENSOR "vision_tower.vision_model.embeddings.class_embedding"

/* Names of one component.
 * @prefix: prefixes to remove, longest first
 * @replacement: replacement of each prefix, or NULL for none
 * @skipped: prefixes of other networks in the same checkpoint, whose tensors are skipped */
static const struct
{
  const char *name, *file;
  const char *prefix[6], *replacement[6], *skipped[5];
} components[AVATAR_N_COMPONENTS] = {
  { "transformer", "transformer.safetensors",
      { "model.diffusion_model.", "diffusion_model.", "transformer.", "module.", "_orig_mod." },
      { NULL }, { NULL } },
  { "vae", "vae.safetensors", { "vae." }, { NULL }, { NULL } },
  { "whisper", "whisper_encoder.safetensors", { "model.encoder.", "encoder." }, { NULL },
      { "model.decoder.", "decoder.", "proj_out." } },
  { "text", "text_stub.safetensors", { NULL }, { NULL }, { NULL } },
  /* Newer versions of the library, and ComfyUI's two files (language model, vision tower), use
   * other names (docs/dev/spec/vae-text-face-formats.md 2.2). */
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
avatar_component_name (AvatarComponentKind kind)
{
  return components[kind].name;
}

const char *
avatar_component_file (AvatarComponentKind kind)
{
  return components[kind].file;
}

static gboolean
is_skipped (AvatarComponentKind kind, const char *name)
{
  for (guint j = 0; j < G_N_ELEMENTS (components[kind].skipped) && components[kind].skipped[j]; j++)
    if (g_str_has_prefix (name, components[kind].skipped[j]))
      return TRUE;
  return FALSE;
}

/* Returns: (transfer full): @name with its prefix removed or replaced. */
static char *
replace_prefix (AvatarComponentKind kind, const char *name)
{
  for (guint j = 0; j < G_N_ELEMENTS (components[kind].prefix) && components[kind].prefix[j]; j++)
    if (g_str_has_prefix (name, components[kind].prefix[j])) {
      const char *replacement = components[kind].replacement[j];

      return g_strconcat (replacement ? replacement : "",
          name + strlen (components[kind].prefix[j]), NULL);
    }
  return g_strdup (name);
}

/* Detects scale factors of activations, which are not quantised here, and ComfyUI's format
 * markers. */
static gboolean
is_quantiser_data (const char *name)
{
  static const char *const suffixes[]
      = { ".input_scale", ".output_scale", ".scale_input", ".comfy_quant" };

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (name, suffixes[i]))
      return TRUE;
  return strcmp (name, "scaled_fp8") == 0;
}

/* Maps the names of the various quantisers (docs/dev/spec/vae-text-face-formats.md 5.4). */
char *
avatar_component_canonical_name (AvatarComponentKind kind, const char *name)
{
  /* The "inverse" of DeepSeek is a factor to multiply by, as the others are. */
  static const char *const suffixes[][2]
      = { { ".weight._data", ".weight" }, { ".weight._scale", ".weight_scale" },
          { ".scale_weight", ".weight_scale" }, { ".weight_scale_inv", ".weight_scale" } };

  g_autofree char *bare = NULL;

  if (is_skipped (kind, name) || g_str_has_prefix (name, AVATAR_COMPONENT_PADDING)
      || is_quantiser_data (name))
    return NULL;
  bare = replace_prefix (kind, name);
  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (bare, suffixes[i][0]))
      return g_strdup_printf ("%.*s%s", (int) (strlen (bare) - strlen (suffixes[i][0])), bare,
          suffixes[i][1]);
  return g_steal_pointer (&bare);
}

static gboolean
read_tensors (AvatarComponent *self, AvatarComponentKind kind, AvatarTensorFile *file,
    GError **error)
{
  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    AvatarTensorSource tensor;
    const char *found = avatar_tensor_file_nth (file, i, &tensor);
    g_autofree char *name = avatar_component_canonical_name (kind, found);

    if (name
        && !g_hash_table_insert (self->tensors, g_steal_pointer (&name),
            g_memdup2 (&tensor, sizeof tensor))) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s: tensor \"%s\" is stored twice, with two names; keep one",
          avatar_tensor_file_get_name (file), found);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
is_float (const AvatarTensorSource *t)
{
  return t->dtype <= AVATAR_BF16;
}

static gboolean
is_8bit (const AvatarTensorSource *t)
{
  return t->dtype == AVATAR_F8_E4M3 || t->dtype == AVATAR_I8;
}

/* Reads the scale factors of a separate file, which are named by module. */
static void
read_scales (AvatarComponent *self)
{
  const char *file = avatar_tensor_file_get_name (self->scales);
  g_autofree char *unused = NULL;
  guint n_unused = 0;

  for (guint i = 0; i < avatar_tensor_file_n (self->scales); i++) {
    AvatarTensorSource scale;
    const char *module = avatar_tensor_file_nth (self->scales, i, &scale);
    g_autofree char *weight = g_strconcat (module, ".weight", NULL);
    const AvatarTensorSource *t = g_hash_table_lookup (self->tensors, weight);

    if (!t)
      g_debug ("%s: no tensor belongs to \"%s\"", file, module);
    else if (is_8bit (t))
      g_hash_table_insert (self->tensors, g_strconcat (weight, "_scale", NULL),
          g_memdup2 (&scale, sizeof scale));
    else if (n_unused++ == 0)
      unused = g_strdup (module);
  }
  if (unused)
    g_warning ("%s: %u scale factors are unused, because their tensors are not 8-bit (the first is "
               "\"%s\")",
        file, n_unused, unused);
}

/* Returns: (transfer full): set of the names of the manifest and of their scale factors. */
static GHashTable *
known_names (GArray *manifest)
{
  GHashTable *known = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);

  for (guint i = 0; i < manifest->len; i++) {
    const char *want = g_array_index (manifest, AvatarManifestEntry, i).name;

    g_hash_table_add (known, g_strdup (want));
    g_hash_table_add (known, g_strconcat (want, "_scale", NULL));
  }
  return known;
}

/* Adds @name for each of its prefixes that may be the name of a module. */
static void
add_prefixes (GHashTable *siblings, const char *name)
{
  if (strlen (name) > MAX_SIBLING)
    return;
  for (const char *p = strpbrk (name, "._"); p; p = strpbrk (p + 1, "._")) {
    char *module = g_strndup (name, p - name);

    if (g_hash_table_contains (siblings, module))
      g_free (module);
    else
      g_hash_table_insert (siblings, module, g_strdup (name));
  }
}

static void
add_unused (GHashTable *siblings, AvatarComponentKind kind, AvatarTensorFile *file)
{
  g_autoptr (GList) names
      = file ? g_hash_table_get_keys (avatar_tensor_file_get_unusable (file)) : NULL;

  names = g_list_sort (names, (GCompareFunc) strcmp);
  for (GList *l = names; l; l = l->next) {
    g_autofree char *name = avatar_component_canonical_name (kind, l->data);

    if (name)
      add_prefixes (siblings, name);
  }
}

/* Builds the table of prefix -> first unused tensor. */
static GHashTable *
find_siblings (AvatarComponent *self, AvatarComponentKind kind, GArray *manifest)
{
  GHashTable *siblings = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (GHashTable) known = known_names (manifest);
  g_autoptr (GList) names
      = g_list_sort (g_hash_table_get_keys (self->tensors), (GCompareFunc) strcmp);

  for (GList *l = names; l; l = l->next)
    if (!g_hash_table_contains (known, l->data))
      add_prefixes (siblings, l->data);
  add_unused (siblings, kind, self->file);
  add_unused (siblings, kind, self->vision);
  return siblings;
}

/* Returns TRUE if each factor is 1. Reads some factors at a time, since their number was not
 * checked. */
static gboolean
are_ones (const AvatarTensorSource *scale)
{
  guint64 n = avatar_tensor_source_n (scale);
  float factors[FACTORS];

  for (guint64 start = 0; start < n; start += FACTORS) {
    guint64 count = MIN (FACTORS, n - start);

    if (!avatar_tensor_source_read (scale, start, count, factors, NULL))
      return FALSE;
    for (guint64 i = 0; i < count; i++)
      if (factors[i] != 1)
        return FALSE;
  }
  return TRUE;
}

/* Drops the factor of a tensor that is not 8-bit, after checking that it is 1. */
static gboolean
drop_scale (AvatarComponent *self, const char *name, const AvatarTensorSource *t,
    const char *scale_name, GError **error)
{
  const AvatarTensorSource *scale = g_hash_table_lookup (self->tensors, scale_name);

  if (scale && (!is_float (scale) || !are_ones (scale))) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: tensor \"%s\" is %s but has a scale factor other than 1, \"%s\"; expected factors "
        "for 8-bit tensors only; download the file again, or convert it without them",
        avatar_tensor_file_get_name (self->file), name, avatar_dtype_name (t->dtype), scale_name);
    return FALSE;
  }
  g_hash_table_remove (self->tensors, scale_name);
  return TRUE;
}

/* Checks that an 8-bit tensor without a known scale factor was cast without one. */
static gboolean
check_cast (AvatarComponent *self, AvatarComponentKind kind, GArray *manifest, const char *name,
    const AvatarTensorSource *t, GError **error)
{
  gsize n = strlen (name) - (g_str_has_suffix (name, ".weight") ? strlen (".weight") : 0);
  g_autofree char *module = g_strndup (name, n);
  g_autofree char *reason = NULL;
  const char *sibling;

  if (!self->siblings)
    self->siblings = find_siblings (self, kind, manifest);
  sibling = g_hash_table_lookup (self->siblings, module);
  if (sibling) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: tensor \"%s\" is %s without a known scale factor, and the meaning of \"%s\" is "
        "unknown; expected \"%s_scale\", or 16-bit weights",
        avatar_tensor_file_get_name (self->file), name, avatar_dtype_name (t->dtype), sibling,
        name);
    return FALSE;
  }
  reason = avatar_plain_cast_check (t);
  if (!reason)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: tensor \"%s\" is %s without a scale factor, and %s; download the factors, or 16-bit weights",
      avatar_tensor_file_get_name (self->file), name, avatar_dtype_name (t->dtype), reason);
  return FALSE;
}

/* Checks that a tensor has one scale factor, or one for each row. Only float8 tensors may have
 * none. */
static gboolean
check_scale (AvatarComponent *self, AvatarComponentKind kind, GArray *manifest, const char *name,
    const AvatarTensorSource *t, GError **error)
{
  g_autofree char *scale_name = g_strconcat (name, "_scale", NULL);
  const AvatarTensorSource *scale = g_hash_table_lookup (self->tensors, scale_name);
  g_autofree char *text = NULL;
  gint64 n;

  if (!is_8bit (t))
    return drop_scale (self, name, t, scale_name, error);
  if (!scale && !self->scales && !check_cast (self, kind, manifest, name, t, error))
    return FALSE;
  if (!scale && !self->scales && t->dtype == AVATAR_F8_E4M3)
    return TRUE; /* cast without a factor */
  n = scale ? avatar_tensor_source_n (scale) : 0;
  if (scale && is_float (scale) && (n == 1 || (n == t->shape[0] && scale->shape[0] == n)))
    return TRUE;
  text = scale ? avatar_tensor_source_describe (scale) : g_strdup ("missing");
  g_set_error (error, AVATAR_ERROR, scale ? AVATAR_ERROR_MISMATCH : AVATAR_ERROR_NOT_FOUND,
      "%s: the scale of the 8-bit tensor \"%s\" is %s; expected 1 or %" G_GINT64_FORMAT
      " floats; download both files again, from the same source",
      avatar_tensor_file_get_name (self->scales ? self->scales : self->file), name, text,
      t->shape[0]);
  return FALSE;
}

/* Returns advice for a missing tensor, with special advice for a missing vision tower. */
static const char *
missing_advice (AvatarComponent *self, const char *missing)
{
  if (self->vision || self->scales
      || !(g_str_has_prefix (missing, "vision_tower.")
          || g_str_has_prefix (missing, "multi_modal_projector.")))
    return "the configuration and the file do not belong together";
  return "this file has only the language model: add the file of its vision tower to the folder, "
         "llava_llama3_vision.safetensors of Comfy-Org/HunyuanVideo_repackaged, or the *mmproj*.gguf "
         "that belongs to it";
}

static gboolean
report_missing (AvatarComponent *self, GArray *manifest, guint first, GError **error)
{
  const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, first);
  AvatarTensor expected = avatar_tensor_of_shape (AVATAR_F32, NULL, want->rank, want->shape);
  g_autofree char *text = avatar_tensor_describe (expected);
  const char *reason = avatar_tensor_file_unusable_reason (self->file, want->name);
  const char *file = avatar_tensor_file_get_name (self->file);
  guint n = 0;

  if (!reason && self->vision) {
    reason = avatar_tensor_file_unusable_reason (self->vision, want->name);
    file = reason ? avatar_tensor_file_get_name (self->vision) : file;
  }

  for (guint i = first; i < manifest->len; i++)
    n += !g_hash_table_contains (self->tensors,
        g_array_index (manifest, AvatarManifestEntry, i).name);
  if (reason)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: tensor \"%s\" cannot be used: %s; expected %s", file, want->name, reason, text);
  else
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: tensor \"%s\" is missing, the first of %u missing ones; expected %s; %s", file,
        want->name, n, text, missing_advice (self, want->name));
  return FALSE;
}

/* Returns TRUE if quanto stored a shift, which only its formats of fewer than 8 bits have. */
static gboolean
is_shifted (AvatarComponent *self, const char *name)
{
  g_autofree char *shift = g_strconcat (name, "._shift", NULL);

  return g_hash_table_contains (self->tensors, shift);
}

/* Returns TRUE for LLaVA's embedding table. Files differ in its number of unused rows: LLaMA has
 * 128256 ids, LLaVA adds some, and the table is padded to a round number. Ids of prompts are
 * compared with the table when they are used. */
static gboolean
is_vocabulary (const AvatarManifestEntry *want, const AvatarTensorSource *found)
{
  return strcmp (want->name, AVATAR_COMPONENT_VOCABULARY) == 0 && found->rank == 2
      && found->shape[1] == want->shape[1] && found->shape[0] > 0
      && ABS (found->shape[0] - want->shape[0]) <= 256;
}

static gboolean
check_tensor (AvatarComponent *self, AvatarComponentKind kind, GArray *manifest, guint i,
    GError **error)
{
  const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, i);
  const AvatarTensorSource *found = g_hash_table_lookup (self->tensors, want->name);
  AvatarTensor expected = avatar_tensor_of_shape (AVATAR_F32, NULL, want->rank, want->shape);
  g_autofree char *want_text = NULL, *found_text = NULL;

  if (!found)
    return report_missing (self, manifest, i, error);
  if (found->rank == want->rank
      && (memcmp (found->shape, want->shape, want->rank * sizeof (gint64)) == 0
          || is_vocabulary (want, found))
      && (is_float (found) || is_8bit (found)))
    return check_scale (self, kind, manifest, want->name, found, error);
  if (is_shifted (self, want->name)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: tensor \"%s\" is quantised by quanto with a shift, to fewer than 8 bits (qint4, qint2), "
        "which is not supported; expected qint8, or 16 bits",
        avatar_tensor_file_get_name (self->file), want->name);
    return FALSE;
  }
  want_text = avatar_tensor_describe (expected);
  found_text = avatar_tensor_source_describe (found);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" is %s; expected %s (or float16, bfloat16, or float8_e4m3 or int8 with "
      "factors); config.json and the file do not belong together",
      avatar_tensor_file_get_name (self->file), want->name, found_text, want_text);
  return FALSE;
}

static gboolean
is_unknown (AvatarComponent *self, const char *name, guint n_known, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" is not one of the %u that config.json requires; the two do "
      "not belong together",
      avatar_tensor_file_get_name (self->file), name, n_known);
  return FALSE;
}

/* Refuses tensors that are not in the manifest, or logs and drops them. */
static gboolean
check_unknown (AvatarComponent *self, GArray *manifest, AvatarUnknownTensors unknown,
    GError **error)
{
  g_autoptr (GHashTable) known = known_names (manifest);
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, self->tensors);
  while (g_hash_table_iter_next (&iter, &name, NULL)) {
    if (g_hash_table_contains (known, name))
      continue;
    if (unknown == AVATAR_UNKNOWN_TENSORS_REFUSE)
      return is_unknown (self, name, manifest->len, error);
    g_debug ("%s: tensor \"%s\" is not needed", avatar_tensor_file_get_name (self->file),
        (const char *) name);
    g_hash_table_iter_remove (&iter);
  }
  /* Missing tensors were reported before, so unusable ones are not in the manifest. */
  g_hash_table_iter_init (&iter, avatar_tensor_file_get_unusable (self->file));
  if (unknown == AVATAR_UNKNOWN_TENSORS_REFUSE && g_hash_table_iter_next (&iter, &name, NULL))
    return is_unknown (self, name, manifest->len, error);
  return TRUE;
}

static gboolean
open_second (AvatarComponent *self, AvatarComponentKind kind, const char *path, GError **error)
{
  AvatarTensorFile *file;

  if (kind == AVATAR_COMPONENT_LLAVA && g_hash_table_contains (self->tensors, VISION_TOWER_TENSOR))
    return TRUE;
  file = avatar_tensor_file_open (path, error);
  if (!file)
    return FALSE;
  if (kind == AVATAR_COMPONENT_LLAVA)
    return read_tensors (self, kind, self->vision = file, error);
  self->scales = file;
  read_scales (self);
  return TRUE;
}

gboolean
avatar_component_open (AvatarComponent *self, AvatarComponentKind kind, const char *path,
    const char *second, const AvatarConfig *config, AvatarUnknownTensors unknown, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, kind);

  self->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  self->file = avatar_tensor_file_open (path, error);
  if (!self->file || !read_tensors (self, kind, self->file, error)
      || (second && !open_second (self, kind, second, error)))
    return FALSE;
  for (guint i = 0; i < manifest->len; i++)
    if (!check_tensor (self, kind, manifest, i, error))
      return FALSE;
  return check_unknown (self, manifest, unknown, error);
}

void
avatar_component_init_shapes_only (AvatarComponent *self, AvatarComponentKind kind,
    const AvatarConfig *config)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, kind);

  self->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, i);
    AvatarTensorSource t = avatar_tensor_source_of_shape (AVATAR_BF16, want->rank, want->shape);

    g_hash_table_insert (self->tensors, g_strdup (want->name), g_memdup2 (&t, sizeof t));
  }
}

void
avatar_component_clear (AvatarComponent *self)
{
  g_clear_pointer (&self->tensors, g_hash_table_unref);
  g_clear_pointer (&self->siblings, g_hash_table_unref);
  g_clear_pointer (&self->scales, avatar_tensor_file_free);
  g_clear_pointer (&self->vision, avatar_tensor_file_free);
  g_clear_pointer (&self->file, avatar_tensor_file_free);
}
