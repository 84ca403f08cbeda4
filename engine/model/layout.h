/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locates the files of a model in the folder layouts in use: the tree of the release
 * (docs/dev/spec/denoise.md 1.1), the flat folder of Wan2GP (docs/dev/spec/vae-text-face-formats.md
 * 5.4; Wan2GP's models/hyvideo/hunyuan_handler.py and defaults/hunyuan_avatar.json), and the output
 * of avatar-pack. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

#define AVATAR_LAYOUT_NAMES 4
/* File name of the face detector in a plain folder; optional. */
#define AVATAR_PLAIN_DETECTOR "detface.pt"
/* File name of a configuration that overrides the released sizes. */
#define AVATAR_LAYOUT_CONFIG "avatar-config.json"

/**
 * AvatarLayoutEncoder: files of a text encoder; lists end with %NULL
 * @folder: folder of the encoder
 * @files: file names of the weights, in order of preference
 * @patterns: patterns of other file names, used if none of @files exists; the largest file wins
 * @vision: patterns of separate vision tower files
 * @required: files that must be in the same folder; "a|b" accepts either. The
 *   first is the configuration, without which the encoder has the released sizes
 */
typedef struct
{
  const char *folder;
  const char *files[AVATAR_LAYOUT_NAMES], *patterns[AVATAR_LAYOUT_NAMES];
  const char *vision[AVATAR_LAYOUT_NAMES], *required[AVATAR_LAYOUT_NAMES];
} AvatarLayoutEncoder;

/**
 * AvatarLayoutForm: file names of one layout. Paths are relative to its top folder, lists end with
 * %NULL
 * @id: identifier for programs
 * @description: noun phrase for messages
 * @source: repository to download from
 * @above: path of the top folder within @source
 * @transformers: folder of the transformers, "" for the top folder
 * @pattern: pattern of the transformer files that a user may name
 * @transformer_files: transformer files, 16-bit ones first
 * @transformer_names: names of these files in reports
 * @mark: (nullable): file that must exist for the layout to be recognised
 * @vae, @whisper: folders
 * @vae_config, @whisper_config: (nullable): configuration files of the two
 * @text: (nullable): file that may replace the text encoders
 * @detector: file of the face detector
 */
typedef struct
{
  const char *id, *description, *source, *above;
  const char *transformers, *pattern;
  const char *transformer_files[AVATAR_LAYOUT_NAMES], *transformer_names[AVATAR_LAYOUT_NAMES];
  const char *mark;
  const char *vae, *vae_config, *vae_files[AVATAR_LAYOUT_NAMES];
  const char *whisper, *whisper_config, *whisper_files[AVATAR_LAYOUT_NAMES];
  const char *text;
  AvatarLayoutEncoder llava, clip;
  const char *detector;
} AvatarLayoutForm;

/**
 * AvatarLayout: paths of the files of one model, and its configuration as JSON text
 * @top: top folder, called ckpts in downloads
 * @scales: (nullable): separate scale factors of an 8-bit transformer
 * @llava, @clip: weights of the text encoders; the only files that may be missing
 * @vision: (nullable): separate vision tower of LLaVA
 * @text: (nullable): replacement of the text encoders
 * @config: (nullable): configuration of the model
 * @llava_config, @clip_config: (nullable): configurations of the text encoders
 * @detector: (nullable): face detector; after a survey, the path where it is expected
 */
typedef struct
{
  const AvatarLayoutForm *form;
  char *top;
  char *transformer, *scales, *vae, *whisper, *text, *llava, *vision, *clip, *detector;
  char *config, *llava_config, *clip_config;
} AvatarLayout;

/* Returns: TRUE if @path is a folder of a known layout, a folder above or inside one, or a
 * transformer file in one. */
gboolean avatar_layout_is_known (const char *path);
/* Locates the files of the model at @path, which must be of a known layout. Sizes are the released
 * ones, overridden by avatar-config.json next to the transformer; the configurations of VAE and
 * Whisper take precedence over both. Clear @self in any case.
 * Returns: FALSE with @error if a required file is missing. */
gboolean avatar_layout_find (AvatarLayout *self, const char *path, GError **error);
/* Locates the files of a possibly incomplete model. Paths of missing files are those where they are
 * expected. @form stays %NULL if no layout is recognised.
 * Returns: FALSE with @error only if a configuration cannot be read. */
gboolean avatar_layout_survey (AvatarLayout *self, const char *path, GError **error);
void avatar_layout_clear (AvatarLayout *self);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarLayout, avatar_layout_clear)

G_END_DECLS
