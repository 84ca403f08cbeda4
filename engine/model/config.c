/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parser of config.json. Every number has a range, so that products of sizes fit in 64 bits, and
 * sizes of different components are compared here. */
#include "engine/model/config.h"

#include "engine/model/config-text-encoder.h"
#include "engine/formats/json.h"
#include "engine/model/config-released.h"

#include <math.h>
#include <string.h>

#define MAX_DIM 65536
/* Maximum length of a text (bytes). */
#define MAX_TEXT 4096

/* Reader of one object of the file. Keeps the first error; values that are read after it are
 * invalid. */
typedef struct
{
  JsonObject *object;
  const char *file, *section;
  GError *error;
} Reader;

static void fail (Reader *r, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
fail (Reader *r, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  if (r->error)
    return;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  r->error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_MISMATCH, "%s: %s", r->file, text);
}

static JsonNode *
member (Reader *r, const char *key)
{
  JsonNode *node = r->object ? json_object_get_member (r->object, key) : NULL;

  if (!node)
    fail (r, "\"%s.%s\" is missing", r->section, key);
  return node;
}

static gboolean
has (Reader *r, const char *key)
{
  JsonNode *node = r->object ? json_object_get_member (r->object, key) : NULL;

  return node && !JSON_NODE_HOLDS_NULL (node);
}

static double
node_number (Reader *r, const char *key, JsonNode *node, double min, double max)
{
  GType type = node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : 0;
  double value;

  if (!node)
    return min;
  if (type != G_TYPE_INT64 && type != G_TYPE_DOUBLE) {
    fail (r, "\"%s.%s\" is not a number", r->section, key);
    return min;
  }
  value = json_node_get_double (node);
  if (!(value >= min && value <= max)) {
    fail (r, "\"%s.%s\" is %g; expected %g to %g", r->section, key, value, min, max);
    return min;
  }
  return value;
}

static double
get_number (Reader *r, const char *key, double min, double max)
{
  return node_number (r, key, member (r, key), min, max);
}

static guint
node_count (Reader *r, const char *key, JsonNode *node, guint min, guint max)
{
  double value = node_number (r, key, node, min, max);

  if (value != floor (value))
    fail (r, "\"%s.%s\" is %g; expected a whole number", r->section, key, value);
  return (guint) value;
}

static guint
get_count (Reader *r, const char *key, guint min, guint max)
{
  return node_count (r, key, member (r, key), min, max);
}

static guint
get_dim (Reader *r, const char *key)
{
  return get_count (r, key, 1, MAX_DIM);
}

/* Fills @values with @min_n to @max_n numbers and returns their count. */
static guint
get_counts (Reader *r, const char *key, guint *values, guint min_n, guint max_n, guint min,
    guint max)
{
  JsonNode *node = member (r, key);
  JsonArray *array = node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  guint n = array ? json_array_get_length (array) : 0;

  for (guint i = 0; i < max_n; i++)
    values[i] = min;
  if (!array || n < min_n || n > max_n) {
    fail (r, "\"%s.%s\": expected a list of %u to %u numbers", r->section, key, min_n, max_n);
    return min_n;
  }
  for (guint i = 0; i < n; i++)
    values[i] = node_count (r, key, json_array_get_element (array, i), min, max);
  return n;
}

static gboolean
get_flag (Reader *r, const char *key, gboolean otherwise)
{
  JsonNode *node = has (r, key) ? member (r, key) : NULL;

  if (!node)
    return otherwise;
  if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_BOOLEAN) {
    fail (r, "\"%s.%s\": expected true or false", r->section, key);
    return otherwise;
  }
  return json_node_get_boolean (node);
}

/* Checks an option with a single supported value. */
static void
only_flag (Reader *r, const char *key, gboolean value)
{
  if (get_flag (r, key, value) != value)
    fail (r, "\"%s.%s\" is %s, which is not supported; expected %s", r->section, key,
        value ? "false" : "true", value ? "true" : "false");
}

static void
only_string (Reader *r, const char *key, const char *value)
{
  JsonNode *node = has (r, key) ? member (r, key) : NULL;
  const char *found = node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;

  if (node && (!found || strcmp (found, value) != 0))
    fail (r, "\"%s.%s\" is %s, which is not supported; expected \"%s\"", r->section, key,
        found ? found : "not a string", value);
}

static Reader
enter (Reader *parent, const char *key, const char *section)
{
  Reader r = { .file = parent->file, .section = section, .error = parent->error };
  JsonNode *node = json_object_get_member (parent->object, key);

  if (node && JSON_NODE_HOLDS_OBJECT (node))
    r.object = json_node_get_object (node);
  else
    fail (&r, "the section \"%s\" is missing", section);
  return r;
}

static void
read_resize (Reader *video, AvatarResizeConfig *c)
{
  Reader r;
  guint n;

  if (video->error || !has (video, "resize"))
    return;
  r = enter (video, "resize", "video.resize");
  c->multiple = get_count (&r, "multiple", 16, 1024);
  c->n_caps = get_counts (&r, "shorter", c->shorter, 1, AVATAR_MAX_CAPS, 16, 8192);
  n = get_counts (&r, "longer", c->longer, 1, AVATAR_MAX_CAPS, 16, 8192);
  if (n != c->n_caps)
    fail (&r, "\"video.resize\" has %u numbers in \"shorter\" and %u in \"longer\"; expected pairs",
        c->n_caps, n);
  for (guint i = 0; i < MIN (n, c->n_caps); i++)
    if (c->shorter[i] > c->longer[i])
      fail (&r, "\"video.resize\": \"shorter\" %u is above \"longer\" %u", c->shorter[i],
          c->longer[i]);
  video->error = r.error;
}

static void
read_video (Reader *root, AvatarConfig *c)
{
  Reader r = enter (root, "video", "video");

  c->size = get_count (&r, "size", 16, 8192);
  c->fps = get_count (&r, "fps", 1, 120);
  c->frames = get_count (&r, "frames", 5, 1025);
  c->sample_rate = get_count (&r, "sample_rate", 8000, 192000);
  read_resize (&r, &c->resize);
  root->error = r.error;
}

static void
read_vae (Reader *root, AvatarConfig *config)
{
  Reader r = enter (root, "vae", "vae");
  AvatarVaeConfig *c = &config->vae;

  c->in_channels = get_count (&r, "in_channels", 3, 3);
  c->out_channels = get_count (&r, "out_channels", 3, 3);
  c->latent_channels = get_count (&r, "latent_channels", 1, 256);
  c->n_stages = get_counts (&r, "block_out_channels", c->channels, 2, AVATAR_MAX_STAGES, 1, 8192);
  c->layers_per_block = get_count (&r, "layers_per_block", 1, 16);
  c->groups = get_count (&r, "norm_num_groups", 1, 8192);
  c->spatial_ratio = get_count (&r, "spatial_compression_ratio", 2, 64);
  c->temporal_ratio = get_count (&r, "time_compression_ratio", 4, 4);
  only_flag (&r, "mid_block_add_attention", TRUE);
  only_string (&r, "act_fn", "silu");
  c->mid_attention = TRUE;
  c->mid_causal = get_flag (&r, "mid_block_causal_attn", FALSE);
  c->sample_size = get_count (&r, "sample_size", 16, 8192);
  c->sample_tsize = get_count (&r, "sample_tsize", 4, 4096);
  c->scaling_factor = get_number (&r, "scaling_factor", 1e-6, 1e6);
  c->shift_factor = has (&r, "shift_factor") ? get_number (&r, "shift_factor", -1e6, 1e6) : 0;
  root->error = r.error;
}

static void
read_whisper (Reader *root, AvatarConfig *config)
{
  Reader r = enter (root, "whisper", "whisper");
  AvatarWhisperConfig *c = &config->whisper;

  c->mels = get_count (&r, "num_mel_bins", 1, 512);
  c->width = get_count (&r, "d_model", 1, 8192);
  c->layers = get_count (&r, "encoder_layers", 1, AVATAR_MAX_BLOCKS - 1);
  c->heads = get_count (&r, "encoder_attention_heads", 1, 256);
  c->ffn = get_dim (&r, "encoder_ffn_dim");
  c->positions = get_count (&r, "max_source_positions", 2, 6000);
  only_string (&r, "activation_function", "gelu");
  root->error = r.error;
}

static void
read_audio_proj (Reader *transformer, AvatarTransformerConfig *c)
{
  Reader r;

  if (!transformer->object)
    return;
  r = enter (transformer, "audio_proj", "transformer.audio_proj");
  c->audio_steps = get_count (&r, "seq_len", 10, 10);
  c->audio_states = get_count (&r, "blocks", 1, AVATAR_MAX_BLOCKS);
  c->audio_channels = get_count (&r, "channels", 1, 8192);
  c->audio_intermediate = get_dim (&r, "intermediate_dim");
  c->audio_tokens = get_count (&r, "context_tokens", 1, 64);
  transformer->error = r.error;
}

static void
read_transformer (Reader *root, AvatarConfig *config)
{
  Reader r = enter (root, "transformer", "transformer");
  AvatarTransformerConfig *c = &config->transformer;

  get_counts (&r, "patch_size", c->patch, 3, 3, 1, 16);
  c->in_channels = get_count (&r, "in_channels", 1, 256);
  c->out_channels = get_count (&r, "out_channels", 1, 256);
  c->hidden = get_count (&r, "hidden_size", 4, 16384);
  c->heads = get_count (&r, "num_heads", 1, 256);
  c->head_dim = c->hidden / c->heads;
  c->mlp = (guint) (c->hidden * get_number (&r, "mlp_width_ratio", .25, 16));
  c->n_double = get_count (&r, "depth_double_blocks", 1, AVATAR_MAX_BLOCKS);
  c->n_single = get_count (&r, "depth_single_blocks", 1, AVATAR_MAX_BLOCKS);
  get_counts (&r, "rope_dim_list", c->rope_dim, 3, 3, 2, 1024);
  c->rope_theta = has (&r, "rope_theta") ? get_number (&r, "rope_theta", 1.001, 1e9) : 256;
  only_flag (&r, "qkv_bias", TRUE);
  only_flag (&r, "qk_norm", TRUE);
  only_flag (&r, "guidance_embed", FALSE);
  c->text_dim = get_count (&r, "text_states_dim", 1, 16384);
  c->pooled_dim = get_count (&r, "text_states_dim_2", 1, 16384);
  c->refiner_depth = get_count (&r, "refiner_depth", 1, 32);
  c->frequency_dim = has (&r, "frequency_embedding_size")
      ? get_count (&r, "frequency_embedding_size", 2, 4096)
      : 256;
  read_audio_proj (&r, c);
  c->adapter_dim = get_count (&r, "audio_adapter_dim", 1, 16384);
  c->n_adapters = get_counts (&r, "double_stream_list", c->adapter_after, 1, AVATAR_MAX_BLOCKS, 0,
      AVATAR_MAX_BLOCKS - 1);
  root->error = r.error;
}

/* Reads an optional string; never returns NULL. */
static char *
get_text (Reader *r, const char *key, const char *otherwise)
{
  JsonNode *node = has (r, key) ? member (r, key) : NULL;
  const char *value = otherwise;

  if (node)
    value = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
  if (value && strlen (value) <= MAX_TEXT)
    return g_strdup (value);
  fail (r, "\"%s.%s\": expected a string of at most %d bytes", r->section, key, MAX_TEXT);
  return g_strdup (otherwise);
}

static guint
get_count_or (Reader *r, const char *key, guint min, guint max, guint otherwise)
{
  return has (r, key) ? get_count (r, key, min, max) : otherwise;
}

/* Defaults are upstream's values. */
static void
read_prompt (Reader *r, AvatarTextConfig *c)
{
  g_autofree char *template = get_text (r, "template", AVATAR_RELEASED_TEMPLATE);
  const char *place = strstr (template, "{}");

  if (!place || strpbrk (place + 2, "{}") || strpbrk (template, "{}") != place) {
    fail (r,
        "\"text.template\": expected a string with {} once, for the prompt, and no "
        "other braces");
    place = template;
  }
  c->template_head = g_strndup (template, place - template);
  c->template_tail = g_strdup (place + MIN (strlen (place), 2));
  c->quality = get_text (r, "quality", AVATAR_RELEASED_QUALITY);
  c->suffix = get_text (r, "suffix", AVATAR_RELEASED_SUFFIX);
  c->negative = get_text (r, "negative", AVATAR_RELEASED_NEGATIVE);
  c->crop_start = get_count_or (r, "crop_start", 1, 4096, 95);
  c->max_length = get_count_or (r, "max_length", 2, 8192, c->crop_start + 256);
  c->image_tokens = get_count_or (r, "image_tokens", 1, 4096, 576);
  c->clip_length = get_count_or (r, "clip_length", 3, 1024, 77);
  if (c->max_length <= c->crop_start + 1)
    fail (r, "text.max_length %u leaves no ids after text.crop_start %u", c->max_length,
        c->crop_start);
  c->max_states = c->max_length - 1 + c->image_tokens - c->crop_start;
}

static void
read_text (Reader *root, AvatarTextConfig *c)
{
  Reader r = enter (root, "text", "text");
  g_autofree char *kind = get_text (&r, "kind", "bytes");

  if (strcmp (kind, "llava+clip") == 0) {
    c->kind = AVATAR_TEXT_LLAVA_CLIP;
    c->bos_byte = get_count_or (&r, "bos_byte", 0, 255, 2); /* first byte of the byte embeddings */
    read_prompt (&r, c);
  } else if (strcmp (kind, "bytes") == 0) {
    c->max_states = c->max_length = get_count (&r, "max_length", 1, 4096);
    c->bos_byte = get_count (&r, "bos_byte", 0, 255);
  } else {
    fail (&r, "\"text.kind\" is \"%s\"; expected \"llava+clip\" or \"bytes\"", kind);
  }
  root->error = r.error;
}

static void
read_defaults (Reader *root, AvatarConfig *c)
{
  Reader r = enter (root, "defaults", "defaults");

  c->steps = get_count (&r, "infer_steps", 1, 1000);
  c->flow_shift = get_number (&r, "flow_shift", .01, 1000);
  only_flag (&r, "flow_reverse", TRUE);
  c->cfg_scale = get_number (&r, "cfg_scale", 0, 100);
  c->motion_pose = get_number (&r, "motion_pose", 0, 1000);
  c->motion_exp = get_number (&r, "motion_exp", 0, 1000);
  c->face_mask_area = get_number (&r, "face_mask_area", .01, 100);
  c->portrait_psnr = has (&r, "portrait_psnr") ? get_number (&r, "portrait_psnr", 0, 99) : 0;
  c->vae_tiling = get_flag (&r, "vae_tiling", TRUE);
  root->error = r.error;
}

static void
check_transformer (Reader *r, const AvatarConfig *config)
{
  const AvatarTransformerConfig *c = &config->transformer;
  guint rope = c->rope_dim[0] + c->rope_dim[1] + c->rope_dim[2];

  if (c->hidden % c->heads || c->head_dim % 2)
    fail (r, "transformer.hidden_size %u does not divide into %u heads of even size", c->hidden,
        c->heads);
  if (c->hidden % 4)
    fail (r, "transformer.hidden_size %u is not a multiple of 4", c->hidden);
  if (rope != c->head_dim || c->rope_dim[0] % 2 || c->rope_dim[1] % 2 || c->rope_dim[2] % 2)
    fail (r, "transformer.rope_dim_list: expected three even numbers whose sum is %u, found %u",
        c->head_dim, rope);
  if (c->mlp > MAX_DIM || c->mlp == 0)
    fail (r, "transformer.mlp_width_ratio makes %u channels; expected 1 to %d", c->mlp, MAX_DIM);
  if (c->frequency_dim % 2)
    fail (r, "transformer.frequency_embedding_size %u is odd", c->frequency_dim);
  if (c->patch[0] != 1 || c->patch[1] != c->patch[2])
    fail (r, "transformer.patch_size is [%u, %u, %u]; expected [1, n, n]", c->patch[0], c->patch[1],
        c->patch[2]);
  for (guint i = 0; i < c->n_adapters; i++)
    if (c->adapter_after[i] >= c->n_double
        || (i > 0 && c->adapter_after[i] <= c->adapter_after[i - 1]))
      fail (r, "transformer.double_stream_list: expected ascending numbers below %u, found %u",
          c->n_double, c->adapter_after[i]);
  if (c->in_channels != config->vae.latent_channels || c->out_channels != c->in_channels)
    fail (r, "transformer.in_channels %u and out_channels %u must equal vae.latent_channels %u",
        c->in_channels, c->out_channels, config->vae.latent_channels);
  if (c->audio_states != config->whisper.layers + 1 || c->audio_channels != config->whisper.width)
    fail (r, "transformer.audio_proj takes %u states of %u channels, whisper gives %u of %u",
        c->audio_states, c->audio_channels, config->whisper.layers + 1, config->whisper.width);
}

static void
check_vae (Reader *r, const AvatarVaeConfig *c)
{
  for (guint i = 0; i < c->n_stages; i++)
    if (c->channels[i] % c->groups)
      fail (r, "vae.block_out_channels: %u channels are not a multiple of %u groups",
          c->channels[i], c->groups);
  if (c->spatial_ratio & (c->spatial_ratio - 1) || c->spatial_ratio >> c->n_stages)
    fail (r, "vae.spatial_compression_ratio %u: expected a power of two that %u stages can reach",
        c->spatial_ratio, c->n_stages);
  if (c->n_stages < 3)
    fail (r, "vae.block_out_channels: time_compression_ratio 4 needs 3 stages, found %u",
        c->n_stages);
  if (c->sample_size % (4 * c->spatial_ratio) || c->sample_tsize % (4 * c->temporal_ratio))
    fail (r,
        "vae.sample_size %u and sample_tsize %u: expected multiples of %u and %u, since tiles "
        "overlap by a quarter",
        c->sample_size, c->sample_tsize, 4 * c->spatial_ratio, 4 * c->temporal_ratio);
}

static void
check_rest (Reader *r, const AvatarConfig *c)
{
  guint multiple = c->vae.spatial_ratio * c->transformer.patch[1];

  if (c->whisper.width % c->whisper.heads)
    fail (r, "whisper.d_model %u does not divide into %u heads", c->whisper.width,
        c->whisper.heads);
  if (c->whisper.positions % 2)
    fail (r, "whisper.max_source_positions %u is odd", c->whisper.positions);
  if (c->sample_rate != 16000 || c->fps != 25)
    fail (r, "video: %u Hz and %u frames a second; only 16000 Hz and 25 are supported",
        c->sample_rate, c->fps);
  if (c->size % multiple)
    fail (r, "video.size %u is not a multiple of %u", c->size, multiple);
  if (c->resize.multiple % multiple)
    fail (r, "video.resize.multiple %u is not a multiple of %u", c->resize.multiple, multiple);
  /* With a smaller size, the shorter side of a portrait of the maximum aspect ratio rounds to 0. */
  if (c->size < 3 * c->resize.multiple)
    fail (r, "video.size %u is below three times video.resize.multiple %u", c->size,
        c->resize.multiple);
  if (c->frames % c->vae.temporal_ratio != 1)
    fail (r, "video.frames %u: expected %un + 1", c->frames, c->vae.temporal_ratio);
}

AvatarConfig *
avatar_config_parse (const char *json, gssize length, const char *name, GError **error)
{
  g_autoptr (AvatarConfig) self = g_new0 (AvatarConfig, 1);
  g_autoptr (JsonObject) object
      = avatar_json_parse (json, length < 0 ? strlen (json) : (gsize) length, name, error);
  Reader root = { .object = object, .file = name, .section = "" };
  JsonNode *node;

  if (!object)
    return NULL;
  node = json_object_get_member (object, "name");
  if (node && JSON_NODE_HOLDS_VALUE (node))
    self->name = g_strdup (json_node_get_string (node));
  if (!self->name || self->name[0] == '\0')
    fail (&root, "\"name\" is missing; expected a string");
  read_video (&root, self);
  read_vae (&root, self);
  read_whisper (&root, self);
  read_transformer (&root, self);
  read_text (&root, &self->text);
  if (self->text.kind == AVATAR_TEXT_LLAVA_CLIP) { /* the encoders' own files may override these */
    avatar_config_read_llava (&self->llava, NULL, name, NULL);
    avatar_config_read_clip (&self->clip, NULL, name, NULL);
  }
  read_defaults (&root, self);
  if (!root.error)
    check_vae (&root, &self->vae);
  if (!root.error)
    check_transformer (&root, self);
  if (!root.error)
    check_rest (&root, self);
  if (root.error) {
    g_propagate_error (error, root.error);
    return NULL;
  }
  return g_steal_pointer (&self);
}

void
avatar_config_free (AvatarConfig *self)
{
  if (!self)
    return;
  g_free (self->text.template_head);
  g_free (self->text.template_tail);
  g_free (self->text.quality);
  g_free (self->text.suffix);
  g_free (self->text.negative);
  g_free (self->name);
  g_free (self);
}
