/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* weights/ckpts/{hunyuan-video-t2v-720p/{transformers,vae},whisper-tiny,llava_llama_image,
 * text_encoder_2}: a user may name any folder from above weights/ down to transformers/, or a
 * transformer's file. */
#include "engine/weights/layout.h"

#include "engine/weights/json.h"
#include "engine/weights/released.h"

#include <string.h>

#define VIDEO "hunyuan-video-t2v-720p"
#define TRANSFORMERS VIDEO "/transformers"
#define DETECTOR "det_align/detface.pt"

static const char *const transformers[]
    = { "mp_rank_00_model_states.pt", "mp_rank_00_model_states_fp8.pt" };
static const char *const vae_files[]
    = { "pytorch_model.pt", "diffusion_pytorch_model.safetensors", NULL };
static const char *const whisper_files[] = { "model.safetensors", "pytorch_model.bin", NULL };
static const char *const llava_files[]
    = { "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin", NULL };
static const char *const clip_files[] = { "model.safetensors", "pytorch_model.bin", NULL };

static gboolean
is_transformer (const char *folder, const char *file)
{
  g_autofree char *path = g_build_filename (folder, file, NULL);

  return g_file_test (path, G_FILE_TEST_IS_REGULAR);
}

static gboolean
holds_transformer (const char *ckpts)
{
  g_autofree char *folder = g_build_filename (ckpts, TRANSFORMERS, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (transformers); i++)
    if (is_transformer (folder, transformers[i]))
      return TRUE;
  return FALSE;
}

/* A download that has only begun has no transformer, but others of the tree's folders. */
static gboolean
holds_anything (const char *ckpts)
{
  static const char *const folders[] = { TRANSFORMERS, VIDEO "/vae", "whisper-tiny",
    "llava_llama_image", "text_encoder_2", "det_align" };

  for (guint i = 0; i < G_N_ELEMENTS (folders); i++) {
    g_autofree char *folder = g_build_filename (ckpts, folders[i], NULL);

    if (g_file_test (folder, G_FILE_TEST_IS_DIR))
      return TRUE;
  }
  return FALSE;
}

/* The folder that holds hunyuan-video-t2v-720p, or NULL, by @holds. @file: (out) (optional): the
 * transformer's file, if @path is one. */
static char *
find_ckpts (const char *path, gboolean (*holds) (const char *ckpts), char **file)
{
  static const char *const ways[] = { "weights/ckpts", "ckpts", NULL };
  g_autofree char *full = g_canonicalize_filename (path, NULL);
  g_autofree char *name = g_path_get_basename (full);

  if (g_file_test (full, G_FILE_TEST_IS_REGULAR) && g_str_has_suffix (name, ".pt")) {
    g_autofree char *folder = g_path_get_dirname (full);
    char *ckpts
        = g_str_has_suffix (folder, "/" TRANSFORMERS) ? find_ckpts (folder, holds, NULL) : NULL;

    if (ckpts && file)
      *file = g_steal_pointer (&name);
    return ckpts;
  }
  if (g_str_has_suffix (full, "/" TRANSFORMERS))
    full[strlen (full) - strlen ("/" TRANSFORMERS)] = '\0';
  else if (g_str_has_suffix (full, "/" VIDEO))
    full[strlen (full) - strlen ("/" VIDEO)] = '\0';
  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    char *ckpts = g_build_filename (full, ways[i], NULL); /* NULL: @path itself */

    if (holds (ckpts))
      return ckpts;
    g_free (ckpts);
  }
  return NULL;
}

gboolean
avatar_layout_is_released (const char *path)
{
  g_autofree char *ckpts = find_ckpts (path, holds_transformer, NULL);

  return ckpts != NULL;
}

/* The first of @names, up to NULL, that is in @folder. */
static char *
find_file (const char *folder, const char *const *names, const char *what, GError **error)
{
  g_autofree char *first = g_build_filename (folder, names[0], NULL);

  for (; *names; names++) {
    char *path = g_build_filename (folder, *names, NULL);

    if (g_file_test (path, G_FILE_TEST_EXISTS))
      return path;
    g_free (path);
  }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: there is no such file, where the %s of a released model is; fetch it from "
      "tencent/HunyuanVideo-Avatar",
      first, what);
  return NULL;
}

/* FALSE only with @error; *@object stays %NULL if there is no such file. */
static gboolean
read_json (const char *path, JsonObject **object, GError **error)
{
  g_autoptr (GError) read_error = NULL;
  gsize length;
  g_autofree char *text = avatar_json_read_config (path, &length, &read_error);

  if (!text && g_error_matches (read_error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND))
    return TRUE;
  if (!text) {
    g_propagate_error (error, g_steal_pointer (&read_error));
    return FALSE;
  }
  *object = avatar_json_parse (text, length, path, error);
  return *object != NULL;
}

/* What the part's own config.json says of what @config has a section for. */
static gboolean
override (JsonObject *config, const char *section, const char *weights, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (weights);
  g_autofree char *path = g_build_filename (folder, "config.json", NULL);
  g_autoptr (JsonObject) own = NULL;
  JsonNode *node = json_object_get_member (config, section);
  JsonObject *into = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  g_autoptr (GList) keys = into ? json_object_get_members (into) : NULL;

  if (!read_json (path, &own, error))
    return FALSE;
  if (!own)
    return TRUE;
  for (GList *l = keys; l; l = l->next)
    if (json_object_has_member (own, l->data))
      json_object_set_member (into, l->data, json_object_dup_member (own, l->data));
    else if (strcmp (l->data, "mid_block_causal_attn") == 0)
      json_object_set_boolean_member (into, l->data, FALSE); /* what upstream's class takes then */
  return TRUE;
}

static gboolean
make_config (AvatarLayout *self, GError **error)
{
  const char *released = avatar_config_released_json ();
  g_autofree char *folder = g_path_get_dirname (self->transformer);
  g_autofree char *path = g_build_filename (folder, "avatar-config.json", NULL);
  g_autoptr (JsonObject) config = NULL;
  g_autoptr (JsonNode) root = NULL;

  if (!read_json (path, &config, error))
    return FALSE;
  if (!config)
    config = avatar_json_parse (released, strlen (released), AVATAR_RELEASED, error);
  if (!config || !override (config, "vae", self->vae, error)
      || !override (config, "whisper", self->whisper, error))
    return FALSE;
  root = json_node_alloc ();
  json_node_init_object (root, config);
  self->config = json_to_string (root, FALSE);
  return TRUE;
}

/* 16-bit weights before 8-bit ones, unless @file is chosen. */
static gboolean
find_transformer (AvatarLayout *self, const char *ckpts, const char *file, GError **error)
{
  g_autofree char *folder = g_build_filename (ckpts, TRANSFORMERS, NULL);
  const char *const chosen[] = { file, NULL };
  const char *const known[] = { transformers[0], transformers[1], NULL };
  g_autofree char *stem = NULL;

  self->transformer = find_file (folder, file ? chosen : known, "transformer", error);
  if (!self->transformer)
    return FALSE;
  if (!g_str_has_suffix (self->transformer, "_fp8.pt"))
    return TRUE;
  stem = g_strndup (self->transformer, strlen (self->transformer) - strlen (".pt"));
  self->scales = g_strconcat (stem, "_map.pt", NULL);
  if (g_file_test (self->scales, G_FILE_TEST_EXISTS))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: there is no such file, which has the scales of the 8-bit transformer beside it; fetch it "
      "from tencent/HunyuanVideo-Avatar",
      self->scales);
  return FALSE;
}

/* Where the first of @names that is there is, or else where the first should be. */
static char *
expect_file (const char *ckpts, const char *folder, const char *const *names)
{
  g_autofree char *full = g_build_filename (ckpts, folder, NULL);
  char *path = find_file (full, names, "", NULL);

  return path ? path : g_build_filename (full, names[0], NULL);
}

/* The text of the config.json beside @weights; FALSE only with @error. */
static gboolean
read_own (const char *weights, char **text, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (weights);
  g_autofree char *path = g_build_filename (folder, "config.json", NULL);
  g_autoptr (GError) read_error = NULL;
  gsize length;

  *text = avatar_json_read_config (path, &length, &read_error);
  if (*text || g_error_matches (read_error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&read_error));
  return FALSE;
}

/* The text encoders, without which everything but prompts is there. */
static gboolean
find_text (AvatarLayout *self, const char *ckpts, GError **error)
{
  self->llava = expect_file (ckpts, "llava_llama_image", llava_files);
  self->clip = expect_file (ckpts, "text_encoder_2", clip_files);
  return read_own (self->llava, &self->llava_config, error)
      && read_own (self->clip, &self->clip_config, error);
}

gboolean
avatar_layout_find (AvatarLayout *self, const char *path, GError **error)
{
  g_autofree char *file = NULL;
  g_autofree char *ckpts = find_ckpts (path, holds_transformer, &file);
  g_autofree char *vae_folder = NULL, *whisper_folder = NULL;

  g_return_val_if_fail (ckpts, FALSE);
  if (!find_transformer (self, ckpts, file, error))
    return FALSE;
  vae_folder = g_build_filename (ckpts, VIDEO "/vae", NULL);
  whisper_folder = g_build_filename (ckpts, "whisper-tiny", NULL);
  self->vae = find_file (vae_folder, vae_files, "VAE", error);
  if (!self->vae)
    return FALSE;
  self->whisper = find_file (whisper_folder, whisper_files, "speech encoder", error);
  self->detector = g_build_filename (ckpts, DETECTOR, NULL);
  if (!g_file_test (self->detector, G_FILE_TEST_EXISTS))
    g_clear_pointer (&self->detector, g_free);
  return self->whisper && find_text (self, ckpts, error) && make_config (self, error);
}

gboolean
avatar_layout_survey (AvatarLayout *self, const char *path, char **root, GError **error)
{
  const char *const known[] = { transformers[0], transformers[1], NULL };
  g_autofree char *file = NULL;
  g_autofree char *ckpts = find_ckpts (path, holds_anything, &file);
  const char *const chosen[] = { file, NULL };

  *root = NULL;
  if (!ckpts)
    return TRUE;
  self->transformer = expect_file (ckpts, TRANSFORMERS, file ? chosen : known);
  if (g_str_has_suffix (self->transformer, "_fp8.pt"))
    self->scales = g_strdup_printf ("%.*s_map.pt",
        (int) (strlen (self->transformer) - strlen (".pt")), self->transformer);
  self->vae = expect_file (ckpts, VIDEO "/vae", vae_files);
  self->whisper = expect_file (ckpts, "whisper-tiny", whisper_files);
  self->detector = g_build_filename (ckpts, DETECTOR, NULL);
  if (!find_text (self, ckpts, error) || !make_config (self, error))
    return FALSE;
  *root = g_steal_pointer (&ckpts);
  return TRUE;
}

void
avatar_layout_clear (AvatarLayout *self)
{
  g_free (self->transformer);
  g_free (self->scales);
  g_free (self->vae);
  g_free (self->whisper);
  g_free (self->llava);
  g_free (self->clip);
  g_free (self->detector);
  g_free (self->config);
  g_free (self->llava_config);
  g_free (self->clip_config);
  *self = (AvatarLayout){ 0 };
}
