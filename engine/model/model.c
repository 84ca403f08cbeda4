/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opens a model: a plain folder (config.json and one safetensors file for each component), a folder
 * of a known layout (engine/model/layout.h), or the built-in released sizes. */
#include "engine/model/model.h"

#include "engine/model/config-text-encoder.h"
#include "engine/base/installed-path.h"
#include "engine/formats/json.h"
#include "engine/model/layout.h"
#include "engine/model/component.h"
#include "engine/model/config-released.h"

#include <string.h>

struct _AvatarModel
{
  gatomicrefcount refs;
  char *path, *detector; /* detector: (nullable): file of the face detector */
  char *json;            /* source of config */
  AvatarConfig *config;
  AvatarModelInfo info;
  char *hash;
  AvatarComponent components[AVATAR_N_COMPONENTS];
  char *text_folders[2]; /* folders of LLaVA and CLIP */
  char *text_sources[2]; /* repositories to download them from */
};

static gboolean
read_config (AvatarModel *self, GChecksum *hash, GError **error)
{
  g_autofree char *path = g_build_filename (self->path, "config.json", NULL);
  g_autofree char *text = NULL;
  g_autoptr (GError) read_error = NULL;
  gsize length;

  text = avatar_json_read_config (path, &length, &read_error);
  if (!text) {
    gboolean missing = g_error_matches (read_error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);

    g_set_error (error, AVATAR_ERROR, read_error->code, "%s%s", read_error->message,
        missing ? "; a model is a folder with config.json and *.safetensors, or the released tree "
                  "with ckpts/hunyuan-video-t2v-720p/transformers/mp_rank_00_model_states.pt, or "
                  "Wan2GP's ckpts with hunyuan_video_avatar_720_bf16.safetensors"
                : "");
    return FALSE;
  }
  g_checksum_update (hash, (const guchar *) text, length);
  self->config = avatar_config_parse (text, length, path, error);
  self->json = g_steal_pointer (&text);
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
    .portrait_psnr = c->portrait_psnr,
  };
}

/* Sets the released sizes. */
static void
init_shapes_only (AvatarModel *self)
{
  self->config = avatar_config_released ();
  self->hash = g_strdup ("0000000000000000");
  for (guint i = 0; i < AVATAR_N_COMPONENTS; i++)
    if (i != AVATAR_COMPONENT_TEXT) /* the encoders themselves are known */
      avatar_component_init_shapes_only (&self->components[i], i, self->config);
  fill_info (self);
}

/* Opens one component and adds it to the hash. */
static gboolean
open_component (AvatarModel *self, AvatarComponentKind kind, const char *path, const char *scales,
    AvatarUnknownTensors unknown, GChecksum *hash, GError **error)
{
  AvatarComponent *component = &self->components[kind];
  const guint8 *header;
  gsize length;

  if (!avatar_component_open (component, kind, path, scales, self->config, unknown, error))
    return FALSE;
  header = avatar_tensor_file_get_header (component->file, &length);
  g_checksum_update (hash, header, length);
  return TRUE;
}

static gboolean
open_plain (AvatarModel *self, GChecksum *hash, GError **error)
{
  if (!read_config (self, hash, error))
    return FALSE;
  for (guint i = 0; i < AVATAR_N_PLAIN_COMPONENTS; i++) {
    g_autofree char *path = g_build_filename (self->path, avatar_component_file (i), NULL);

    if (!open_component (self, i, path, NULL, AVATAR_UNKNOWN_TENSORS_REFUSE, hash, error))
      return FALSE;
  }
  self->detector = g_build_filename (self->path, AVATAR_PLAIN_DETECTOR, NULL);
  if (!g_file_test (self->detector, G_FILE_TEST_EXISTS))
    g_clear_pointer (&self->detector, g_free);
  return TRUE;
}

/* Sets the vocabulary size to the number of rows of the table, which differs between files. */
static void
set_vocabulary (AvatarModel *self)
{
  GHashTable *tensors = self->components[AVATAR_COMPONENT_LLAVA].tensors;
  const AvatarTensorSource *table
      = tensors ? g_hash_table_lookup (tensors, AVATAR_COMPONENT_VOCABULARY) : NULL;

  if (table)
    self->config->llava.vocab = table->shape[0];
}

/* Compares the sizes of the encoders that are present with the transformer. */
static gboolean
check_encoders (AvatarModel *self, const AvatarLayout *layout, GError **error)
{
  const char *const configs[] = { layout->llava_config, layout->clip_config };
  const char *const names[] = { layout->form->llava.required[0], layout->form->clip.required[0] };
  const char *paths[] = { layout->llava, layout->clip };

  for (guint i = 0; i < 2; i++)
    if (!configs[i] && !g_file_test (paths[i], G_FILE_TEST_EXISTS))
      paths[i] = NULL;
  if (avatar_config_check_text (self->config, paths[0], paths[1], error))
    return TRUE;
  for (guint i = 0; i < 2; i++)
    if (paths[i] && !configs[i])
      g_prefix_error (error,
          "%s/%s: there is no such file, so the released sizes are used: ", self->text_folders[i],
          names[i]);
  return FALSE;
}

/* Opens the text encoders that are present; none is needed if encoded prompts are set directly.
 * They are not part of the hash, by which stages on several machines identify the model. */
static gboolean
open_encoders (AvatarModel *self, const AvatarLayout *layout, GError **error)
{
  const char *const paths[] = { layout->llava, layout->clip };
  const char *const seconds[] = { layout->vision, NULL };
  const AvatarLayoutForm *form = layout->form;
  const char *const folders[] = { form->llava.folder, form->clip.folder };

  for (guint i = 0; i < 2; i++) {
    self->text_folders[i] = g_path_get_dirname (paths[i]);
    self->text_sources[i] = g_strdup_printf ("%s%s of %s", form->above, folders[i], form->source);
  }
  if (self->config->text.kind != AVATAR_TEXT_LLAVA_CLIP)
    return TRUE;
  if (!avatar_config_read_llava (&self->config->llava, layout->llava_config, layout->llava, error)
      || !avatar_config_read_clip (&self->config->clip, layout->clip_config, layout->clip, error)
      || !check_encoders (self, layout, error))
    return FALSE;
  for (guint i = 0; i < 2; i++)
    if (g_file_test (paths[i], G_FILE_TEST_EXISTS)
        && !avatar_component_open (&self->components[AVATAR_COMPONENT_LLAVA + i],
            AVATAR_COMPONENT_LLAVA + i, paths[i], seconds[i], self->config,
            AVATAR_UNKNOWN_TENSORS_SKIP, error))
      return FALSE;
  set_vocabulary (self);
  return TRUE;
}

/* Checkpoints from training contain more tensors than needed, so unknown tensors are skipped. */
static gboolean
open_download (AvatarModel *self, GChecksum *hash, GError **error)
{
  g_auto (AvatarLayout) layout = { 0 };

  if (!avatar_layout_find (&layout, self->path, error))
    return FALSE;
  g_checksum_update (hash, (const guchar *) layout.config, strlen (layout.config));
  self->config = avatar_config_parse (layout.config, -1, self->path, error);
  self->json = g_strdup (layout.config);
  self->detector = g_steal_pointer (&layout.detector);
  return self->config
      && open_component (self, AVATAR_COMPONENT_TRANSFORMER, layout.transformer, layout.scales,
          FALSE, hash, error)
      && open_component (self, AVATAR_COMPONENT_VAE, layout.vae, NULL, AVATAR_UNKNOWN_TENSORS_SKIP,
          hash, error)
      && open_component (self, AVATAR_COMPONENT_WHISPER, layout.whisper, NULL,
          AVATAR_UNKNOWN_TENSORS_SKIP, hash, error)
      && (!layout.text
          || open_component (self, AVATAR_COMPONENT_TEXT, layout.text, NULL,
              AVATAR_UNKNOWN_TENSORS_SKIP, hash, error))
      && open_encoders (self, &layout, error);
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
    init_shapes_only (self);
    return g_steal_pointer (&self);
  }
  if (!(avatar_layout_is_known (self->path) ? open_download (self, hash, error)
                                            : open_plain (self, hash, error)))
    return NULL;
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
  for (guint i = 0; i < AVATAR_N_COMPONENTS; i++)
    avatar_component_clear (&self->components[i]);
  for (guint i = 0; i < 2; i++) {
    g_free (self->text_folders[i]);
    g_free (self->text_sources[i]);
  }
  avatar_config_free (self->config);
  g_free (self->json);
  g_free (self->hash);
  g_free (self->detector);
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

const char *
avatar_model_get_config_json (AvatarModel *self)
{
  return self->json;
}

const AvatarConfig *
avatar_model_get_config (AvatarModel *self)
{
  return self->config;
}

const char *
avatar_model_get_detector (AvatarModel *self)
{
  return self->detector;
}

gboolean
avatar_model_has_weights (AvatarModel *self)
{
  return self->components[0].file != NULL;
}

GHashTable *
avatar_model_get_component (AvatarModel *self, AvatarComponentKind component, const char **file)
{
  const AvatarComponent *found = &self->components[component];

  if (file)
    *file = found->file ? avatar_tensor_file_get_name (found->file) : NULL;
  return found->tensors;
}

const char *
avatar_model_get_text_folder (AvatarModel *self, AvatarComponentKind encoder)
{
  return self->text_folders[encoder - AVATAR_COMPONENT_LLAVA];
}

const char *
avatar_model_get_text_source (AvatarModel *self, AvatarComponentKind encoder)
{
  return self->text_sources[encoder - AVATAR_COMPONENT_LLAVA];
}

char *
avatar_model_default_path (void)
{
  const char *named = g_getenv ("AVATAR_MODEL");

  return named && named[0] ? g_strdup (named)
                           : avatar_installed_path (AVATAR_DATADIR "/gst-avatar/models/demo");
}
