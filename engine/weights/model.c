/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening a model folder: config.json and one safetensors file a part, compared name by name and
 * shape by shape with what the architecture needs, so that no stage meets a surprise later. */
#include "engine/weights/model.h"

#include "engine/weights/manifest.h"
#include "engine/weights/released.h"
#include "engine/weights/safetensors.h"

#include <string.h>

#define MAX_CONFIG (1u << 20)

/* @prefix: longest first; the first that fits is dropped from a name. @foreign: names that begin
 * so belong to other networks of the same checkpoint and are passed over. */
static const struct
{
  const char *part, *file;
  const char *prefix[3], *foreign[4];
} parts[] = {
  { "transformer", "transformer.safetensors", { NULL }, { NULL } },
  { "vae", "vae.safetensors", { "vae." }, { NULL } },
  { "whisper", "whisper_encoder.safetensors", { "model.encoder.", "encoder." },
      { "model.decoder.", "decoder.", "proj_out." } },
  { "text", "text_stub.safetensors", { NULL }, { NULL } },
};

typedef struct
{
  AvatarSafetensors *file; /* NULL: sizes only */
  GHashTable *tensors;     /* name without prefix -> AvatarTensor */
} Part;

struct _AvatarModel
{
  gatomicrefcount refs;
  char *path;
  AvatarConfig *config;
  AvatarModelInfo info;
  char *hash;
  Part parts[G_N_ELEMENTS (parts)];
};

static gboolean
is_foreign (guint i, const char *name)
{
  for (guint j = 0; j < G_N_ELEMENTS (parts[i].foreign) && parts[i].foreign[j]; j++)
    if (g_str_has_prefix (name, parts[i].foreign[j]))
      return TRUE;
  return FALSE;
}

static const char *
bare_name (guint i, const char *name)
{
  for (guint j = 0; j < G_N_ELEMENTS (parts[i].prefix) && parts[i].prefix[j]; j++)
    if (g_str_has_prefix (name, parts[i].prefix[j]))
      return name + strlen (parts[i].prefix[j]);
  return name;
}

static gboolean
index_part (Part *part, guint i, GError **error)
{
  part->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
  for (guint j = 0; j < avatar_safetensors_n (part->file); j++) {
    AvatarTensor tensor;
    const char *name = avatar_safetensors_nth (part->file, j, &tensor);

    if (is_foreign (i, name))
      continue;
    if (!g_hash_table_insert (part->tensors, (gpointer) bare_name (i, name),
            g_memdup2 (&tensor, sizeof tensor))) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s: tensor \"%s\" is there twice, with and without its prefix; keep one",
          avatar_safetensors_get_name (part->file), name);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
check_tensor (const AvatarManifestEntry *want, const AvatarTensor *found, const char *file,
    GError **error)
{
  AvatarTensor expected = avatar_tensor_of_shape (AVATAR_F32, NULL, want->rank, want->shape);
  g_autofree char *want_text = avatar_tensor_describe (expected);
  g_autofree char *found_text = NULL;

  if (!found) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: tensor \"%s\" is missing; expected %s; config.json and the file do not belong "
        "together",
        file, want->name, want_text);
    return FALSE;
  }
  if (found->rank == want->rank
      && memcmp (found->shape, want->shape, want->rank * sizeof (gint64)) == 0
      && found->dtype <= AVATAR_F8_E4M3)
    return TRUE;
  found_text = avatar_tensor_describe (*found);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" is %s; expected %s (or another float format); config.json and the file "
      "do not belong together",
      file, want->name, found_text, want_text);
  return FALSE;
}

static gboolean
check_part (Part *part, GArray *manifest, GError **error)
{
  g_autoptr (GHashTable) known = g_hash_table_new (g_str_hash, g_str_equal);
  const char *file = avatar_safetensors_get_name (part->file);
  GHashTableIter iter;
  gpointer name;

  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, i);

    if (!check_tensor (want, g_hash_table_lookup (part->tensors, want->name), file, error))
      return FALSE;
    g_hash_table_add (known, want->name);
  }
  g_hash_table_iter_init (&iter, part->tensors);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    if (!g_hash_table_contains (known, name)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s: tensor \"%s\" is not one of the %u that config.json calls for; the two do not "
          "belong together",
          file, (const char *) name, manifest->len);
      return FALSE;
    }
  return TRUE;
}

static gboolean
open_part (AvatarModel *self, guint i, GError **error)
{
  g_autofree char *path = g_build_filename (self->path, parts[i].file, NULL);
  g_autoptr (GArray) manifest = avatar_manifest_new (self->config, parts[i].part);
  Part *part = &self->parts[i];

  part->file = avatar_safetensors_open (path, error);
  return part->file && index_part (part, i, error) && check_part (part, manifest, error);
}

static gboolean
read_config (AvatarModel *self, GChecksum *hash, GError **error)
{
  g_autofree char *path = g_build_filename (self->path, "config.json", NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) read_error = NULL;
  gsize length;

  if (!g_file_get_contents (path, &text, &length, &read_error)) {
    gboolean missing = g_error_matches (read_error, G_FILE_ERROR, G_FILE_ERROR_NOENT);

    g_set_error (error, AVATAR_ERROR, missing ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_READ,
        "%s: %s; a model is a folder with config.json and *.safetensors", path,
        missing ? "there is no such file" : read_error->message);
    return FALSE;
  }
  if (length > MAX_CONFIG) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: %" G_GSIZE_FORMAT " bytes; a configuration has at most %u", path, length, MAX_CONFIG);
    return FALSE;
  }
  g_checksum_update (hash, (const guchar *) text, length);
  self->config = avatar_config_parse (text, length, path, error);
  return self->config != NULL;
}

static void
fill_info (AvatarModel *self)
{
  const AvatarConfig *c = self->config;

  self->info = (AvatarModelInfo){
    .name = c->name,
    .hash = self->hash,
    .width = c->size,
    .height = c->size,
    .size_multiple = c->vae.spatial_ratio * c->transformer.patch[1],
    .fps = c->fps,
    .sample_rate = c->sample_rate,
    .window_frames = c->frames,
    .window_latents = (c->frames - 1) / c->vae.temporal_ratio + 1,
    .feature_steps = c->transformer.audio_steps,
    .feature_states = c->transformer.audio_states,
    .feature_channels = c->transformer.audio_channels,
    .latent_channels = c->vae.latent_channels,
    .latent_scale = c->vae.spatial_ratio,
    .steps = c->steps,
    .guidance_scale = c->cfg_scale,
    .flow_shift = c->flow_shift,
    .face_area = c->face_mask_area,
    .tiling = c->vae_tiling,
    .tile_size = c->vae.sample_size,
    .tile_frames = c->vae.sample_tsize,
  };
}

/* All tensors that the architecture needs, with shapes and without data. */
static void
imagine_part (Part *part, guint i, const AvatarConfig *config)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, parts[i].part);

  part->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  for (guint j = 0; j < manifest->len; j++) {
    const AvatarManifestEntry *want = &g_array_index (manifest, AvatarManifestEntry, j);
    AvatarTensor t = avatar_tensor_of_shape (AVATAR_BF16, NULL, want->rank, want->shape);

    g_hash_table_insert (part->tensors, g_strdup (want->name), g_memdup2 (&t, sizeof t));
  }
}

/* The released model's sizes. */
static void
imagine (AvatarModel *self)
{
  self->config = avatar_config_released ();
  self->hash = g_strdup ("0000000000000000");
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    imagine_part (&self->parts[i], i, self->config);
  fill_info (self);
}

AvatarModel *
avatar_model_open (const char *path, GError **error)
{
  g_autoptr (AvatarModel) self = g_new0 (AvatarModel, 1);
  g_autoptr (GChecksum) hash = g_checksum_new (G_CHECKSUM_SHA256);

  g_atomic_ref_count_init (&self->refs);
  self->path = path ? g_strdup (path) : avatar_model_default_path ();
  if (strcmp (self->path, AVATAR_RELEASED) == 0
      && !g_file_test (AVATAR_RELEASED, G_FILE_TEST_EXISTS)) {
    imagine (self);
    return g_steal_pointer (&self);
  }
  if (!read_config (self, hash, error))
    return NULL;
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++) {
    const guint8 *header;
    gsize length;

    if (!open_part (self, i, error))
      return NULL;
    header = avatar_safetensors_get_header (self->parts[i].file, &length);
    g_checksum_update (hash, header, length);
  }
  self->hash = g_strndup (g_checksum_get_string (hash), 16);
  fill_info (self);
  return g_steal_pointer (&self);
}

AvatarModel *
avatar_model_ref (AvatarModel *self)
{
  g_atomic_ref_count_inc (&self->refs);
  return self;
}

void
avatar_model_unref (AvatarModel *self)
{
  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++) {
    g_clear_pointer (&self->parts[i].tensors, g_hash_table_unref);
    g_clear_pointer (&self->parts[i].file, avatar_safetensors_free);
  }
  avatar_config_free (self->config);
  g_free (self->hash);
  g_free (self->path);
  g_free (self);
}

const char *
avatar_model_get_path (AvatarModel *self)
{
  return self->path;
}

const AvatarModelInfo *
avatar_model_get_info (AvatarModel *self)
{
  return &self->info;
}

const AvatarConfig *
avatar_model_get_config (AvatarModel *self)
{
  return self->config;
}

gboolean
avatar_model_has_weights (AvatarModel *self)
{
  return self->parts[0].file != NULL;
}

GHashTable *
avatar_model_get_part (AvatarModel *self, const char *part, const char **file)
{
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    if (strcmp (part, parts[i].part) == 0) {
      if (file)
        *file = self->parts[i].file ? avatar_safetensors_get_name (self->parts[i].file) : NULL;
      return self->parts[i].tensors;
    }
  return NULL;
}

char *
avatar_model_default_path (void)
{
  const char *named = g_getenv ("AVATAR_MODEL");

  if (named && named[0])
    return g_strdup (named);
  /* before installation: the folder in the source tree */
  if (!g_file_test (AVATAR_DEMO_MODEL_DIR, G_FILE_TEST_IS_DIR)
      && g_file_test (AVATAR_SOURCE_MODEL_DIR, G_FILE_TEST_IS_DIR))
    return g_strdup (AVATAR_SOURCE_MODEL_DIR);
  return g_strdup (AVATAR_DEMO_MODEL_DIR);
}
