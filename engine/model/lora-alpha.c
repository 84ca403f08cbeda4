/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Three conventions are read: PEFT writes the members of its LoraConfig as one JSON object or as
 * separate entries; diffusers writes the same object with the prefix "transformer."; kohya writes
 * "ss_network_alpha". */
#include "engine/model/lora-alpha.h"

#include "engine/formats/json.h"

#include <math.h>
#include <string.h>

#define CONFIG "adapter_config.json"

static gboolean
fail (const char *file, GError **error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
fail (const char *file, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH, "%s: %s", file, text);
  return FALSE;
}

/* Reads a number, or a string with a number. Returns FALSE for other values. */
static gboolean
get_number (JsonNode *node, double *value)
{
  GType type = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : G_TYPE_INVALID;
  const char *text;
  char *end;

  if (type == G_TYPE_INT64 || type == G_TYPE_DOUBLE) {
    *value = json_node_get_double (node);
    return isfinite (*value);
  }
  if (type != G_TYPE_STRING)
    return FALSE;
  text = json_node_get_string (node);
  *value = g_ascii_strtod (text, &end);
  return end != text && !*end && isfinite (*value);
}

/* Returns TRUE for the null values of JSON and Python. */
static gboolean
is_null (JsonNode *node)
{
  const char *text
      = JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
      ? json_node_get_string (node)
      : NULL;

  return JSON_NODE_HOLDS_NULL (node) || (text && (!*text || strcmp (text, "None") == 0));
}

static gboolean
is_true (JsonNode *node)
{
  if (!JSON_NODE_HOLDS_VALUE (node))
    return FALSE;
  if (json_node_get_value_type (node) == G_TYPE_BOOLEAN)
    return json_node_get_boolean (node);
  return json_node_get_value_type (node) == G_TYPE_STRING
      && g_ascii_strcasecmp (json_node_get_string (node), "true") == 0;
}

/* Returns the value of @word in @object with @prefix, or %NULL if it is absent or null. */
static JsonNode *
member (JsonObject *object, const char *prefix, const char *word)
{
  g_autofree char *name = g_strconcat (prefix, word, NULL);
  JsonNode *node = json_object_get_member (object, name);

  return node && !is_null (node) ? node : NULL;
}

static gboolean
read_number (JsonObject *object, const char *prefix, const char *word, const char *file,
    double *value, GError **error)
{
  JsonNode *node = member (object, prefix, word);

  return !node || get_number (node, value)
      || fail (file, error, "\"%s\" of its metadata is not a number; expected one", word);
}

/* Reads {module: number}, or a string that contains it. */
static gboolean
read_pattern (JsonObject *object, const char *prefix, const char *word, const char *file,
    JsonObject **pattern, GError **error)
{
  JsonNode *node = member (object, prefix, word);
  const char *text;

  if (!node)
    return TRUE;
  if (JSON_NODE_HOLDS_OBJECT (node)) {
    *pattern = json_object_ref (json_node_get_object (node));
    return TRUE;
  }
  text = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
  *pattern = text ? avatar_json_parse (text, strlen (text), word, NULL) : NULL;
  return *pattern
      || fail (file, error,
          "\"%s\" of its metadata is not a JSON object; expected {module: number}", word);
}

static gboolean
has_words (JsonObject *object, const char *prefix)
{
  static const char *const words[]
      = { "lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "lora_bias" };

  for (guint i = 0; i < G_N_ELEMENTS (words); i++)
    if (member (object, prefix, words[i]))
      return TRUE;
  return FALSE;
}

/* Reads the members of PEFT's LoraConfig from @object with @prefix.
 * @source: description of the place, for messages */
static gboolean
read_words (AvatarLoraAlpha *self, JsonObject *object, const char *prefix, const char *source,
    const char *file, GError **error)
{
  static const char *const refused[] = { "use_dora", "lora_bias" };
  JsonNode *root = member (object, prefix, "use_rslora");

  if (!has_words (object, prefix))
    return TRUE;
  if (self->source)
    return fail (file, error, "its alpha is set in two places, %s and %s; remove one of them",
        self->source, source);
  self->source = g_strdup (source);
  self->root = root && is_true (root);
  for (guint i = 0; i < G_N_ELEMENTS (refused); i++) {
    JsonNode *node = member (object, prefix, refused[i]);

    if (node && is_true (node))
      return fail (file, error, "%s has \"%s\", an unsupported kind of adapter; expected a LoRA",
          source, refused[i]);
  }
  return read_number (object, prefix, "lora_alpha", file, &self->alpha, error)
      && read_number (object, prefix, "r", file, &self->rank, error)
      && read_pattern (object, prefix, "alpha_pattern", file, &self->alphas, error)
      && read_pattern (object, prefix, "rank_pattern", file, &self->ranks, error);
}

/* Reads a metadata entry that contains a LoraConfig as JSON. */
static gboolean
read_entry (AvatarLoraAlpha *self, const char *key, const char *text, const char *file,
    GError **error)
{
  static const char *const prefixes[] = { "", "transformer.", "diffusion_model.", "unet." };
  g_autofree char *source = g_strdup_printf ("\"%s\" of its metadata", key);
  g_autoptr (JsonObject) object = NULL;

  if (!strstr (text, "lora_alpha") && !strstr (text, "use_rslora"))
    return TRUE;
  object = avatar_json_parse (text, strlen (text), key, NULL);
  if (!object)
    return fail (file, error,
        "%s mentions an alpha but is not valid JSON, so the strength of the LoRA is unknown",
        source);
  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    if (!read_words (self, object, prefixes[i], source, file, error))
      return FALSE;
  return TRUE;
}

/* Reads the entries of other trainers, each of which is a number. */
static gboolean
read_plain (AvatarLoraAlpha *self, JsonObject *metadata, const char *file, GError **error)
{
  static const char *const alphas[] = { "alpha", "network_alpha" };
  static const char *const ranks[]
      = { "lora_r", "lora_rank", "rank", "network_dim", "network_rank" };

  for (guint i = 0; i < G_N_ELEMENTS (alphas) && !self->source; i++) {
    if (!read_number (metadata, "", alphas[i], file, &self->alpha, error))
      return FALSE;
    if (!isnan (self->alpha))
      self->source = g_strdup_printf ("\"%s\" of its metadata", alphas[i]);
  }
  for (guint i = 0; i < G_N_ELEMENTS (ranks) && self->source && isnan (self->rank); i++)
    if (!read_number (metadata, "", ranks[i], file, &self->rank, error))
      return FALSE;
  return TRUE;
}

/* kohya's trainers also store an alpha with every pair of matrices. musubi-tuner's convert_lora.py
 * multiplies it into lora_A and lora_B, removes it, and keeps the metadata. */
static void
read_kohya (AvatarLoraAlpha *self, JsonObject *metadata, AvatarLoraNames names)
{
  double alpha = NAN, rank = NAN;
  JsonNode *node = member (metadata, "", "ss_network_alpha");

  /* "Dynamic": every pair has its own alpha. */
  if (!node || self->source || !get_number (node, &alpha))
    return;
  node = member (metadata, "", "ss_network_dim");
  if (node && !get_number (node, &rank))
    return;
  if (names == AVATAR_LORA_NAMES_PEFT) {
    self->folded = alpha == rank ? NAN : alpha;
  } else {
    self->alpha = alpha;
    self->rank = rank;
    self->source = g_strdup ("\"ss_network_alpha\" of its metadata");
  }
}

static gboolean
read_metadata (AvatarLoraAlpha *self, JsonObject *metadata, const char *file, AvatarLoraNames names,
    GError **error)
{
  g_autoptr (GList) keys = json_object_get_members (metadata);

  for (GList *l = keys; l; l = l->next) {
    JsonNode *node = json_object_get_member (metadata, l->data);
    const char *text
        = JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
        ? json_node_get_string (node)
        : NULL;

    if (text && text[strspn (text, " \t\r\n")] == '{' && !g_str_has_prefix (l->data, "ss_")
        && !read_entry (self, l->data, text, file, error))
      return FALSE;
  }
  if (!read_words (self, metadata, "", "its metadata", file, error)
      || !read_plain (self, metadata, file, error))
    return FALSE;
  read_kohya (self, metadata, names);
  return TRUE;
}

/* In a folder with several adapters, adapter_config.json belongs to the one with PEFT's file
 * name. */
static gboolean
is_configured (const char *path, const char *folder)
{
  static const char *const own[] = { "adapter_model.safetensors", "adapter_model.bin" };
  g_autofree char *name = g_path_get_basename (path);
  gboolean taken = FALSE;

  for (guint i = 0; i < G_N_ELEMENTS (own); i++) {
    g_autofree char *other = g_build_filename (folder, own[i], NULL);

    if (strcmp (name, own[i]) == 0)
      return TRUE;
    taken = taken || g_file_test (other, G_FILE_TEST_EXISTS);
  }
  return !taken;
}

static gboolean
read_adapter_config (AvatarLoraAlpha *self, const char *path, const char *file, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *config = g_build_filename (folder, CONFIG, NULL);
  g_autofree char *text = NULL;
  g_autoptr (JsonObject) object = NULL;
  gsize length;

  if (!g_file_test (config, G_FILE_TEST_EXISTS) || !is_configured (path, folder))
    return TRUE;
  text = avatar_json_read_config (config, &length, error);
  if (text)
    object = avatar_json_parse (text, length, config, error);
  return object && read_words (self, object, "", config, file, error);
}

gboolean
avatar_lora_alpha_read (AvatarLoraAlpha *self, AvatarTensorFile *file, const char *path,
    AvatarLoraNames names, GError **error)
{
  JsonObject *metadata = avatar_tensor_file_get_metadata (file);
  const char *name = avatar_tensor_file_get_name (file);

  *self = (AvatarLoraAlpha){ .alpha = NAN, .rank = NAN, .folded = NAN };
  if (metadata && !read_metadata (self, metadata, name, names, error))
    return FALSE;
  if (path && names == AVATAR_LORA_NAMES_PEFT && !self->source
      && !read_adapter_config (self, path, name, error))
    return FALSE;
  if (self->source && isnan (self->alpha))
    return fail (name, error, "%s has options for alphas but no \"lora_alpha\"; expected both",
        self->source);
  return TRUE;
}

/* Returns TRUE if @module is @pattern or ends with it at a dot. "^" anchors the pattern to the
 * start. */
static gboolean
matches_module (const char *module, const char *pattern)
{
  gsize n = strlen (module), m;

  if (*pattern == '^')
    return strcmp (module, pattern + 1) == 0;
  m = strlen (pattern);
  return g_str_has_suffix (module, pattern) && (n == m || module[n - m - 1] == '.');
}

/* Returns the value of the first member of @pattern that matches @module. PEFT treats names as
 * regular expressions. */
static gboolean
find_pattern (JsonObject *pattern, const char *file, const char *module, double *value,
    GError **error)
{
  g_autoptr (GList) names = pattern ? json_object_get_members (pattern) : NULL;

  for (GList *l = names; l; l = l->next) {
    if (strpbrk (l->data, "*+?()[]{}|\\$"))
      return fail (file, error,
          "it has alphas or ranks for \"%s\", a regular expression, which is not supported; "
          "expected names of modules",
          (char *) l->data);
    if (matches_module (module, l->data))
      return get_number (json_object_get_member (pattern, l->data), value)
          || fail (file, error, "the alpha or rank of \"%s\" is not a number", (char *) l->data);
  }
  return TRUE;
}

gboolean
avatar_lora_alpha_get (const AvatarLoraAlpha *self, const char *file, const char *module,
    double own, gint64 rank, double *factor, GError **error)
{
  double alpha = self->alpha, said = self->rank;

  if (!find_pattern (self->alphas, file, module, &alpha, error)
      || !find_pattern (self->ranks, file, module, &said, error))
    return FALSE;
  if (isnan (alpha) || (!isnan (own) && g_str_has_prefix (self->source, "\"ss_")))
    alpha = isnan (own) ? rank : own;
  else if (!isnan (said) && said != rank)
    return fail (file, error,
        "%s says that the rank of \"%s\" is %g, but its matrices are of rank %" G_GINT64_FORMAT
        "; the two do not belong together",
        self->source, module, said, rank);
  else if (!isnan (own) && own != alpha)
    return fail (file, error, "the alpha of \"%s\" is %g, and %s says %g; remove one of them",
        module, own, self->source, alpha);
  *factor = alpha / (self->root ? sqrt (rank) : rank);
  return TRUE;
}

void
avatar_lora_alpha_clear (AvatarLoraAlpha *self)
{
  g_clear_pointer (&self->alphas, json_object_unref);
  g_clear_pointer (&self->ranks, json_object_unref);
  g_clear_pointer (&self->source, g_free);
}
