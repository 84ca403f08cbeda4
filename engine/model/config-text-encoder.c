/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hugging Face's files omit members with default values, so every member is optional. A member that
 * is present must have a value that this implementation supports. */
#include "engine/model/config-text-encoder.h"

#include "engine/formats/json.h"

#include <string.h>

#define MAX_DIM 65536

/* Sizes of xtuner/llava-llama-3-8b-v1_1-transformers and openai/clip-vit-large-patch14
 * (docs/dev/spec/vae-text-face-formats.md 2.1, 3). */
static const AvatarLlavaConfig released_llava = {
  .hidden = 4096,
  .layers = 32,
  .heads = 32,
  .kv_heads = 8,
  .head_dim = 128,
  .mlp = 14336,
  .vocab = 128320,
  .eps = 1e-5,
  .rope_theta = 500000,
  .image_token = 128257,
  .pad_token = 128258,
  .vision = { .hidden = 1024, .layers = 24, .heads = 16, .mlp = 4096, .eps = 1e-5 },
  .image = 336,
  .patch = 14,
};
static const AvatarClipConfig released_clip = {
  .tower = { .hidden = 768, .layers = 12, .heads = 12, .mlp = 3072, .eps = 1e-5 },
  .vocab = 49408,
  .positions = 77,
};

/* Reader of one object of the file, which is NULL if it is absent. Keeps the first error. */
typedef struct
{
  JsonObject *object;
  const char *file;
  GError **error;
  gboolean failed;
} Reader;

static void fail (Reader *r, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
fail (Reader *r, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  if (r->failed)
    return;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (r->error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH, "%s: %s", r->file, text);
  r->failed = TRUE;
}

/* Returns the member @key, or NULL if it is absent or null. */
static JsonNode *
find (const Reader *r, const char *key)
{
  JsonNode *node = r->object ? json_object_get_member (r->object, key) : NULL;

  return node && !JSON_NODE_HOLDS_NULL (node) ? node : NULL;
}

static double
get_number (Reader *r, const char *key, double min, double max, double otherwise)
{
  JsonNode *node = find (r, key);
  GType type = node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : 0;
  double value = otherwise;

  if (!node)
    return otherwise;
  if (type == G_TYPE_INT64 || type == G_TYPE_DOUBLE)
    value = json_node_get_double (node);
  if ((type == G_TYPE_INT64 || type == G_TYPE_DOUBLE) && value >= min && value <= max)
    return value;
  fail (r, "\"%s\": expected a number from %g to %g", key, min, max);
  return otherwise;
}

static guint
get_count (Reader *r, const char *key, guint min, guint max, guint otherwise)
{
  double value = get_number (r, key, min, max, otherwise);

  if (value != (guint) value)
    fail (r, "\"%s\" is %g; expected a whole number", key, value);
  return value;
}

/* Checks an option with a single supported value. */
static void
only_string (Reader *r, const char *key, const char *value)
{
  JsonNode *node = find (r, key);
  const char *found = node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;

  if (node && g_strcmp0 (found, value) != 0)
    fail (r, "\"%s\" is %s, which is not supported; expected \"%s\"", key,
        found ? found : "not a string", value);
}

static void
only_absent (Reader *r, const char *key)
{
  if (find (r, key))
    fail (r, "\"%s\" is set, which is not supported; expected no value, as in the release", key);
}

static Reader
enter (Reader *parent, const char *key)
{
  JsonNode *node = find (parent, key);
  Reader r = { .file = parent->file, .error = parent->error, .failed = parent->failed };

  if (node && JSON_NODE_HOLDS_OBJECT (node))
    r.object = json_node_get_object (node);
  else if (node)
    fail (&r, "\"%s\": expected an object", key);
  return r;
}

static void
check_heads (Reader *r, guint hidden, guint heads)
{
  if (hidden % heads || hidden / heads % 2 || hidden / heads > 256)
    fail (r, "\"hidden_size\" %u does not divide into %u heads of an even size up to 256", hidden,
        heads);
}

/* Reads the sizes of CLIP's layers, in either tower. */
static void
read_tower (Reader *r, AvatarTowerConfig *c)
{
  c->hidden = get_count (r, "hidden_size", 2, MAX_DIM, c->hidden);
  c->layers = get_count (r, "num_hidden_layers", 1, AVATAR_MAX_BLOCKS, c->layers);
  c->heads = get_count (r, "num_attention_heads", 1, 256, c->heads);
  c->mlp = get_count (r, "intermediate_size", 1, MAX_DIM, c->mlp);
  c->eps = get_number (r, "layer_norm_eps", 1e-12, 1e-2, c->eps);
  only_string (r, "hidden_act", "quick_gelu");
  check_heads (r, c->hidden, c->heads);
}

static void
read_llama (Reader *r, AvatarLlavaConfig *c)
{
  c->hidden = get_count (r, "hidden_size", 2, MAX_DIM, c->hidden);
  c->layers = get_count (r, "num_hidden_layers", 3, AVATAR_MAX_BLOCKS, c->layers);
  c->heads = get_count (r, "num_attention_heads", 1, 256, c->heads);
  c->kv_heads = get_count (r, "num_key_value_heads", 1, 256, c->kv_heads);
  c->mlp = get_count (r, "intermediate_size", 1, MAX_DIM, c->mlp);
  c->vocab = get_count (r, "vocab_size", 1, 1 << 20, c->vocab);
  c->eps = get_number (r, "rms_norm_eps", 1e-12, 1e-2, c->eps);
  c->rope_theta = get_number (r, "rope_theta", 2, 1e9, c->rope_theta);
  only_string (r, "hidden_act", "silu");
  only_absent (r, "rope_scaling");
  check_heads (r, c->hidden, c->heads);
  c->head_dim = get_count (r, "head_dim", 2, 256, c->hidden / c->heads);
  if (c->head_dim * c->heads != c->hidden)
    fail (r, "\"head_dim\" is %u; expected hidden_size %u / num_attention_heads %u", c->head_dim,
        c->hidden, c->heads);
  if (c->heads % c->kv_heads)
    fail (r, "%u attention heads do not divide among %u key-value heads", c->heads, c->kv_heads);
}

/* Returns: (transfer full) (nullable): path of the config.json next to @weights. */
static char *
config_path (const char *weights)
{
  g_autofree char *folder = g_path_get_dirname (weights);

  return g_build_filename (folder, "config.json", NULL);
}

static gboolean
open_json (Reader *r, const char *json, JsonObject **object)
{
  if (!json)
    return TRUE;
  *object = r->object = avatar_json_parse (json, strlen (json), r->file, r->error);
  return *object != NULL;
}

gboolean
avatar_config_read_llava (AvatarLlavaConfig *c, const char *json, const char *weights,
    GError **error)
{
  g_autoptr (JsonObject) object = NULL;
  g_autofree char *file = config_path (weights);
  Reader root = { .file = file, .error = error }, r;

  *c = released_llava;
  if (!open_json (&root, json, &object))
    return FALSE;
  c->image_token = get_count (&root, "image_token_index", 0, 1 << 20, c->image_token);
  c->pad_token = get_count (&root, "pad_token_id", 0, 1 << 20, c->pad_token);
  only_string (&root, "projector_hidden_act", "gelu");
  only_string (&root, "vision_feature_select_strategy", "default");
  if (get_number (&root, "vision_feature_layer", -1e9, 1e9, -2) != -2)
    fail (&root, "\"vision_feature_layer\" is not supported; expected -2");
  r = enter (&root, "text_config");
  read_llama (&r, c);
  root.failed = r.failed;
  r = enter (&root, "vision_config");
  read_tower (&r, &c->vision);
  c->image = get_count (&r, "image_size", 2, 4096, c->image);
  c->patch = get_count (&r, "patch_size", 1, 256, c->patch);
  if (c->image % c->patch)
    fail (&r, "\"image_size\" %u is not a multiple of \"patch_size\" %u", c->image, c->patch);
  if (c->vision.layers < 2)
    fail (&r, "\"num_hidden_layers\" is %u; expected at least 2, of which the last is not run",
        c->vision.layers);
  return !r.failed;
}

gboolean
avatar_config_read_clip (AvatarClipConfig *c, const char *json, const char *weights, GError **error)
{
  g_autoptr (JsonObject) object = NULL;
  g_autofree char *file = config_path (weights);
  Reader root = { .file = file, .error = error }, r;

  *c = released_clip;
  if (!open_json (&root, json, &object))
    return FALSE;
  /* The file describes only the text tower, or all of CLIP. */
  r = find (&root, "text_config") ? enter (&root, "text_config") : root;
  read_tower (&r, &c->tower);
  c->vocab = get_count (&r, "vocab_size", 1, 1 << 20, c->vocab);
  c->positions = get_count (&r, "max_position_embeddings", 3, 4096, c->positions);
  return !r.failed;
}

gboolean
avatar_config_check_text (const AvatarConfig *config, const char *llava, const char *clip,
    GError **error)
{
  const AvatarTransformerConfig *t = &config->transformer;
  const AvatarLlavaConfig *l = &config->llava;
  const AvatarClipConfig *c = &config->clip;
  guint side = l->image / l->patch;

  if (llava && l->hidden != t->text_dim)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: the text encoder outputs %u values a row, but the transformer expects %u; they do not "
        "belong together",
        llava, l->hidden, t->text_dim);
  else if (clip && c->tower.hidden != t->pooled_dim)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: the text encoder outputs %u values, but the transformer expects %u; they do not belong "
        "together",
        clip, c->tower.hidden, t->pooled_dim);
  else if (llava && side * side != config->text.image_tokens)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: the text encoder outputs %u rows for the portrait, but text.image_tokens is %u", llava,
        side * side, config->text.image_tokens);
  else if (clip && c->positions < config->text.clip_length)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: CLIP has %u positions, but text.clip_length is %u", clip, c->positions,
        config->text.clip_length);
  else
    return TRUE;
  return FALSE;
}
