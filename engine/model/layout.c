/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The path of a model may be any folder from weights/ or ckpts/ down to the folder of the
 * transformers, or a transformer file. */
#include "engine/model/layout.h"

#include "engine/formats/json.h"
#include "engine/model/layout-table.h"
#include "engine/model/config-released.h"

#include <glib/gstdio.h>
#include <string.h>

/* Maximum number of directory entries that are examined. */
#define MAX_ENTRIES 4096

typedef gboolean (*HoldsFunc) (const AvatarLayoutForm *form, const char *top);

/* Returns: (transfer full) (nullable): the part of @full before @folder, if @full ends with it.
 * @folder may be "". */
static char *
above (const char *full, const char *folder)
{
  gsize n = strlen (full), m = strlen (folder);

  if (m == 0)
    return g_strdup (full);
  if (n <= m || full[n - m - 1] != '/' || strcmp (full + n - m, folder) != 0)
    return NULL;
  return g_strndup (full, n - m - 1);
}

/* Returns the top folder of @form if @full is in the folder of its transformers. */
static char *
top_of_file (const AvatarLayoutForm *form, const char *full)
{
  g_autofree char *name = g_path_get_basename (full);
  g_autofree char *folder = g_path_get_dirname (full);
  g_autofree char *top = above (folder, form->transformers);

  if (!top || !g_pattern_match_simple (form->pattern, name)
      || !avatar_layout_has_any_file (form, top))
    return NULL;
  return g_steal_pointer (&top);
}

/* Returns: (transfer full) (nullable): the top folder that satisfies @accepts.
 * @file: (out) (optional): the transformer file, if @path is one */
static char *
find_top (const AvatarLayoutForm *form, const char *path, HoldsFunc accepts, char **file)
{
  g_autofree char *full = g_canonicalize_filename (path, NULL);
  g_autofree char *video = g_path_get_dirname (form->transformers);
  const char *const inside[] = { form->transformers, video };
  static const char *const ways[] = { "weights/ckpts", "ckpts", NULL };

  if (g_file_test (full, G_FILE_TEST_IS_REGULAR)) {
    char *top = top_of_file (form, full);

    if (top && file)
      *file = g_path_get_basename (full);
    return top;
  }
  for (guint i = 0; i < G_N_ELEMENTS (inside); i++) {
    char *top = inside[i][0] && strcmp (inside[i], ".") ? above (full, inside[i]) : NULL;

    if (top && accepts (form, top))
      return top;
    g_free (top);
  }
  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    char *top = g_build_filename (full, ways[i], NULL); /* NULL: @path itself */

    if (accepts (form, top))
      return top;
    g_free (top);
  }
  return NULL;
}

static gboolean
is_form (AvatarLayout *self, const AvatarLayoutForm *form, const char *path, HoldsFunc accepts,
    char **file)
{
  self->top = find_top (form, path, accepts, file);
  if (self->top)
    self->form = form;
  return self->top != NULL;
}

/* Sets form and top. Returns FALSE if @path has no known layout. */
static gboolean
find_form (AvatarLayout *self, const char *path, char **file)
{
  for (guint i = 0; i < AVATAR_LAYOUT_FORMS; i++)
    if (is_form (self, &avatar_layout_forms[i], path, avatar_layout_has_transformer, file))
      return TRUE;
  return FALSE;
}

/* Tries layouts without a transformer too. The release is last, because Wan2GP shares some of its
 * folders. */
static gboolean
find_incomplete (AvatarLayout *self, const char *path, char **file)
{
  for (guint i = AVATAR_LAYOUT_FORMS; i-- > 0;)
    if (is_form (self, &avatar_layout_forms[i], path, avatar_layout_has_any_file, file))
      return TRUE;
  return FALSE;
}

gboolean
avatar_layout_is_known (const char *path)
{
  g_auto (AvatarLayout) layout = { 0 };

  return find_form (&layout, path, NULL);
}

/* Returns the path of the first of @names that exists in @folder of the top; otherwise sets *@found
 * to FALSE and returns the path where the first is expected. */
static char *
expect_file (const AvatarLayout *self, const char *folder, const char *const *names,
    gboolean *found)
{
  *found = TRUE;
  for (guint i = 0; names[i]; i++) {
    char *path = g_build_filename (self->top, folder, names[i], NULL);

    if (g_file_test (path, G_FILE_TEST_EXISTS))
      return path;
    g_free (path);
  }
  *found = FALSE;
  return g_build_filename (self->top, folder, names[0], NULL);
}

static gboolean
is_missing (const AvatarLayout *self, const char *path, const char *what, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: there is no such file; expected the %s of %s; download %s%s of %s", path, what,
      self->form->description, self->form->above, path + strlen (self->top) + 1,
      self->form->source);
  return FALSE;
}

/* Reads a JSON file. Returns FALSE only with @error; *@object stays %NULL if the file does not
 * exist. */
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

/* Copies the members of a component's own configuration that @config has a section for. */
static gboolean
override (JsonObject *config, const char *section, const char *weights, const char *file,
    GError **error)
{
  g_autofree char *folder = g_path_get_dirname (weights);
  g_autofree char *path = file ? g_build_filename (folder, file, NULL) : NULL;
  g_autoptr (JsonObject) own = NULL;
  JsonNode *node = json_object_get_member (config, section);
  JsonObject *into = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  g_autoptr (GList) keys = into ? json_object_get_members (into) : NULL;

  if (path && !read_json (path, &own, error))
    return FALSE;
  if (!own)
    return TRUE;
  for (GList *l = keys; l; l = l->next)
    if (json_object_has_member (own, l->data))
      json_object_set_member (into, l->data, json_object_dup_member (own, l->data));
    else if (strcmp (l->data, "mid_block_causal_attn") == 0)
      json_object_set_boolean_member (into, l->data, FALSE); /* default of upstream's class */
  return TRUE;
}

static gboolean
make_config (AvatarLayout *self, GError **error)
{
  const char *released = avatar_config_released_json ();
  g_autofree char *folder = g_path_get_dirname (self->transformer);
  g_autofree char *path = g_build_filename (folder, AVATAR_LAYOUT_CONFIG, NULL);
  g_autoptr (JsonObject) config = NULL;
  g_autoptr (JsonNode) root = NULL;

  if (!read_json (path, &config, error))
    return FALSE;
  if (!config)
    config = avatar_json_parse (released, strlen (released), AVATAR_RELEASED, error);
  if (!config || !override (config, "vae", self->vae, self->form->vae_config, error)
      || !override (config, "whisper", self->whisper, self->form->whisper_config, error))
    return FALSE;
  root = json_node_alloc ();
  json_node_init_object (root, config);
  self->config = json_to_string (root, FALSE);
  return TRUE;
}

/* Reads the configuration of a text encoder. Returns FALSE only with @error. */
static gboolean
read_encoder_config (const AvatarLayout *self, const AvatarLayoutEncoder *encoder, char **text,
    GError **error)
{
  g_autofree char *path = g_build_filename (self->top, encoder->folder, encoder->required[0], NULL);
  g_autoptr (GError) read_error = NULL;
  gsize length;

  *text = avatar_json_read_config (path, &length, &read_error);
  if (*text || g_error_matches (read_error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND))
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&read_error));
  return FALSE;
}

static gboolean
matches (const char *name, const char *const *patterns)
{
  for (guint i = 0; patterns[i]; i++)
    if (g_pattern_match_simple (patterns[i], name))
      return TRUE;
  return FALSE;
}

/* Returns the largest file of @folder that matches one of @patterns and none of @others and is not
 * a shard, or NULL. Files of equal size are ordered by name. */
static char *
find_largest (const char *folder, const char *const *patterns, const char *const *others)
{
  static const char *const shards[] = { "*-0*-of-0*", NULL };
  g_autoptr (GDir) dir = patterns[0] ? g_dir_open (folder, 0, NULL) : NULL;
  g_autofree char *best = NULL;
  goffset max_size = 0;
  const char *name;

  for (guint n = 0; dir && n < MAX_ENTRIES && (name = g_dir_read_name (dir)); n++) {
    g_autofree char *path = NULL;
    GStatBuf st;

    if (!matches (name, patterns) || matches (name, others) || matches (name, shards))
      continue;
    path = g_build_filename (folder, name, NULL);
    if (g_stat (path, &st) != 0 || !S_ISREG (st.st_mode)
        || (best && (st.st_size < max_size || (st.st_size == max_size && strcmp (path, best) > 0))))
      continue;
    max_size = st.st_size;
    g_free (best);
    best = g_steal_pointer (&path);
  }
  return g_steal_pointer (&best);
}

/* Locates the weights of @encoder and its separate vision tower. */
static void
find_encoder (const AvatarLayout *self, const AvatarLayoutEncoder *encoder, char **weights,
    char **vision)
{
  static const char *const none[] = { NULL };
  g_autofree char *folder = g_build_filename (self->top, encoder->folder, NULL);
  gboolean found;
  char *other;

  *weights = expect_file (self, encoder->folder, encoder->files, &found);
  other = found ? NULL : find_largest (folder, encoder->patterns, encoder->vision);
  if (other) {
    g_free (*weights);
    *weights = other;
  }
  if (vision)
    *vision = find_largest (folder, encoder->vision, none);
}

/* Locates the text encoders, which are needed for prompts only. */
static gboolean
find_text (AvatarLayout *self, GError **error)
{
  const AvatarLayoutForm *form = self->form;

  find_encoder (self, &form->llava, &self->llava, &self->vision);
  find_encoder (self, &form->clip, &self->clip, NULL);
  return read_encoder_config (self, &form->llava, &self->llava_config, error)
      && read_encoder_config (self, &form->clip, &self->clip_config, error);
}

/* Locates the files of the other components, 16-bit weights before 8-bit ones, unless @file is
 * chosen. Returns FALSE with @error if a file is missing. */
static gboolean
place_files (AvatarLayout *self, const char *file, GError **error)
{
  const AvatarLayoutForm *form = self->form;
  const char *const chosen[] = { file, NULL };
  gboolean has_transformer, has_vae, has_whisper;

  self->transformer = expect_file (self, form->transformers,
      file ? chosen : form->transformer_files, &has_transformer);
  if (g_str_has_suffix (self->transformer, "_fp8.pt"))
    self->scales = g_strdup_printf ("%.*s_map.pt",
        (int) (strlen (self->transformer) - strlen (".pt")), self->transformer);
  self->vae = expect_file (self, form->vae, form->vae_files, &has_vae);
  self->whisper = expect_file (self, form->whisper, form->whisper_files, &has_whisper);
  self->detector = g_build_filename (self->top, form->detector, NULL);
  if (form->text)
    self->text = g_build_filename (self->top, form->text, NULL);
  if (self->text && !g_file_test (self->text, G_FILE_TEST_EXISTS))
    g_clear_pointer (&self->text, g_free);
  if (!has_transformer)
    return is_missing (self, self->transformer, "transformer", error);
  if (self->scales && !g_file_test (self->scales, G_FILE_TEST_EXISTS))
    return is_missing (self, self->scales, "8-bit transformer's file of scales", error);
  if (!has_vae)
    return is_missing (self, self->vae, "VAE", error);
  return has_whisper || is_missing (self, self->whisper, "speech encoder", error);
}

gboolean
avatar_layout_find (AvatarLayout *self, const char *path, GError **error)
{
  g_autofree char *file = NULL;
  gboolean known = find_form (self, path, &file);

  g_return_val_if_fail (known, FALSE);
  if (!place_files (self, file, error))
    return FALSE;
  if (!g_file_test (self->detector, G_FILE_TEST_EXISTS))
    g_clear_pointer (&self->detector, g_free);
  return find_text (self, error) && make_config (self, error);
}

gboolean
avatar_layout_survey (AvatarLayout *self, const char *path, GError **error)
{
  g_autofree char *file = NULL;

  if (!find_form (self, path, &file) && !find_incomplete (self, path, &file))
    return TRUE;
  place_files (self, file, NULL);
  return find_text (self, error) && make_config (self, error);
}

void
avatar_layout_clear (AvatarLayout *self)
{
  g_free (self->top);
  g_free (self->transformer);
  g_free (self->scales);
  g_free (self->vae);
  g_free (self->whisper);
  g_free (self->text);
  g_free (self->llava);
  g_free (self->vision);
  g_free (self->clip);
  g_free (self->detector);
  g_free (self->config);
  g_free (self->llava_config);
  g_free (self->clip_config);
  *self = (AvatarLayout){ 0 };
}
